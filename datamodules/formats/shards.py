"""Clips packed into tar shards (`prepare_data.py pack`), a line each, with tabs; see labels/README.md.

id  spoken-written  frames  shard  key  video offset,size  sound offset,size  run lengths  text

A shard is a name beside the label file, or an address that fsspec opens. "-" stands for what a clip has not.
"""

from __future__ import annotations

import math
import os
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from datamodules.batch import Utterance, can_be_seen
from datamodules.formats._checks import (
    MAX_FRAMES,
    Kind,
    LabelError,
    LineError,
    positive,
    problem_of,
    read_lines,
)
from datamodules.languages import parse_direction
from datamodules.media.packed import BLOCK_BYTES, MAX_BYTES, Packed, check_address
from datamodules.table import Lines, Utterances

SUFFIXES = (".shards",)
NAMES_LANGUAGES = True
NOTHING = "-"
NUM_COLUMNS = 9
MEDIA = (("video", 5, ".mp4"), ("audio", 6, ".wav"))


def read(path: Path, root_dir: Path, media: Sequence[str] = ("audio", "video")) -> Utterances:
    """Read a .shards file; `root_dir` is not needed. Shards of a folder must be as long as the lines say.

    Raises:
        LabelError: naming the first broken lines and counting the rest.
    """
    path = Path(path)
    lines = read_lines(path)
    make = _Clips(path, lines)
    num_frames, has_text, num_units = array("q"), array("b"), 0
    problems, line_of_id = [], {}
    sizes: dict[str, float] = {}
    for number, line in enumerate(lines, start=1):
        try:
            clip = make.of(number, line)
            first = line_of_id.setdefault(clip.id, number)
            if first != number:
                raise LineError(f"{clip.id} is a duplicate clip", Kind.DUPLICATE, first)
            _check_media(clip, media, sizes)
        except ValueError as error:
            problems.append(problem_of(error, number))
            continue
        num_frames.append(min(clip.num_frames, MAX_FRAMES))
        has_text.append(can_be_seen(clip.text))
        num_units += clip.run_lengths is not None
    if problems:
        raise LabelError.from_problems(path, problems)
    return Utterances(make, num_frames, has_text, num_units == len(lines))


def tiny(folder: Path) -> Path:
    """Writes the label file of two clips, without their shard."""
    path = folder / "labels.shards"
    lines = ["set/a\ten-en\t50\tlost.tar\t0\t512,100\t1536,99\t-\thello world"]
    lines.append("set/b\ten-es\t25\tlost.tar\t1\t2560,100\t3584,99\t-\tel zorro")
    path.write_text("\n".join(lines) + "\n")
    return path


@dataclass(frozen=True)
class _Clips:
    """Makes clips of lines."""

    path: Path
    lines: Lines

    def __call__(self, row: int) -> Utterance:
        return self.of(row + 1, self.lines[row])

    def of(self, number: int, line: str) -> Utterance:
        """Raises ValueError with the reason alone."""
        columns = line.split("\t", NUM_COLUMNS - 1)
        if len(columns) != NUM_COLUMNS:
            raise ValueError(f"expected {NUM_COLUMNS} columns divided by tabs, found {len(columns)}")
        clip_id, languages, frames, shard, key, _, _, runs, text = columns
        if "://" not in shard:
            if not shard or "/" in shard or shard == "..":
                raise ValueError(f"expected the name of a shard beside this file, found {shard!r}")
            shard = str(self.path.parent / shard)
        elif "::" in shard:
            raise ValueError(f"expected the address of a shard, found {shard!r}")
        return Utterance(
            id=clip_id,
            **{
                f"{medium}_path": _packed(shard, key + suffix, columns[column], column + 1)
                for medium, column, suffix in MEDIA
            },
            num_frames=positive(frames, column=3),
            text=text,
            source=f"{self.path}:{number}",
            languages=parse_direction(languages),
            run_lengths=None if runs == NOTHING else tuple(positive(n, column=8) for n in runs.split()),
        )


def _packed(shard: str, member: str, place: str, column: int) -> Packed:
    if place == NOTHING:
        return Packed(shard, member)
    offset, _, size = place.partition(",")
    if not all(n.isascii() and n.isdecimal() and len(n) < 19 for n in (offset, size)):
        raise ValueError(f"expected offset,size in column {column}, found {place!r}")
    packed = Packed(shard, member, int(offset), int(size))
    if packed.offset % BLOCK_BYTES or packed.offset < BLOCK_BYTES or not 0 < packed.size <= MAX_BYTES:
        raise ValueError(f"expected the place of a file in a tar in column {column}, found {place!r}")
    return packed


def _check_media(clip: Utterance, media: Sequence[str], sizes: dict[str, float]) -> None:
    """`sizes` of shards that were met before."""
    if "video" in media and not clip.video_path.exists():
        raise LineError("expected a video, found none", Kind.MISSING_MEDIA)
    if "audio" in media and not (clip.audio_path.exists() or clip.video_path.exists()):
        raise LineError("expected audio or a video, found neither", Kind.MISSING_MEDIA)
    for packed in (clip.video_path, clip.audio_path) if media else ():
        if not packed.exists():
            continue
        if packed.shard not in sizes:
            sizes[packed.shard] = _size_of(packed.shard)
        if sizes[packed.shard] < 0:
            raise LineError(f"expected a shard at {packed.shard}, found none", Kind.MISSING_MEDIA)
        if packed.offset + packed.size > sizes[packed.shard]:
            raise LineError(
                f"{packed.shard}: found {sizes[packed.shard]} bytes, too few for {packed.member}: cut short",
                Kind.MISSING_MEDIA,
            )


def _size_of(shard: str) -> float:
    """-1 where there is none. At an address that is found out when clips are read."""
    if "://" in shard:
        check_address(shard)
        return math.inf
    return os.path.getsize(shard) if os.path.isfile(shard) else -1
