"""The manifest of the AV-HuBERT and VSP-LLM family; see labels/README.md.

train.tsv             the root, then `id<TAB>video<TAB>audio<TAB>n_video_frames<TAB>n_audio_samples` a line
train.wrd             the transcripts, in the same order
train.cluster_counts  optional: frames of each run of equal visual units, in the same order
"""

from __future__ import annotations

import os
import re
from array import array
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np

from datamodules.batch import Utterance, can_be_seen
from datamodules.formats._checks import (
    MAX_FRAMES,
    LabelError,
    Problem,
    missing_media,
    positive,
    problem_of,
    read_lines,
    split_lines,
)
from datamodules.formats._prefixes import Prefixes, parse, rewrite
from datamodules.languages import parse_direction
from datamodules.table import Lines, Utterances

SUFFIXES = (".tsv",)
TEXT_SUFFIX = ".wrd"
COUNTS_SUFFIX = ".cluster_counts"
NAMES_LANGUAGES = True
DEFAULT_LANGUAGES = ("en", "en")
"""Of ids that name none."""
FIRST_LINE = 2
"""Of the clips: line 1 is the root."""
_NUM_COLUMNS = (5, 6)
# Two or three letters on either side: a YouTube id, which may hold a hyphen too, has eleven.
_PAIR = re.compile(r"([a-z]{2,3})-([a-z]{2,3})", re.IGNORECASE)
_ENDS_LIKE_A_LINE = re.compile(r":\d+$")
_HINT = "where only the folder is another: --path-prefix OLD=NEW rewrites the paths of a .tsv"


@dataclass(frozen=True, kw_only=True)
class Options:
    """Manifests (.tsv)"""

    path_prefix: tuple[str, ...] = field(
        default=(), metadata={"scope": {"whole_words": True, "private": True}}
    )
    """OLD=NEW: replace OLD at the beginning of paths in a .tsv by NEW; of several, the first match counts."""


class Row(NamedTuple):
    """One line of a .tsv, as it is written there."""

    line: int
    id: str
    video: str
    audio: str
    num_frames: int
    languages: tuple[str, str]


def read(
    path: Path,
    root_dir: Path,
    media: Sequence[str] = ("audio", "video"),
    path_prefix: Sequence[str] = (),
) -> Utterances:
    """Read a .tsv with the .wrd and, where there is one, the .cluster_counts beside it.

    A clip's path is the root of line 1 joined with its column, then rewritten by the first of
    `path_prefix` (`OLD=NEW`) that fits; what is relative after that lies below `root_dir`. `media`
    says which of "audio" and "video" must exist. The text may be empty.

    An id that is there several times gets the line number in the .tsv: `lrs3/en-es:12`.

    Raises:
        LabelError: naming the first broken lines and counting the rest.
    """
    path = Path(path)
    prefixes = [parse(text) for text in path_prefix]
    root, lines = _open(path)
    num_frames, times = array("q"), Counter()
    for row in _rows(path, lines):
        num_frames.append(min(row.num_frames, MAX_FRAMES))
        times[row.id] += 1
    texts, counts = read_beside(path, TEXT_SUFFIX, len(lines)), None
    if path.with_suffix(COUNTS_SUFFIX).exists():
        counts = _lines_of_clips(path.with_suffix(COUNTS_SUFFIX), len(lines))
        for _ in _run_lengths(path.with_suffix(COUNTS_SUFFIX), counts, num_frames):
            pass  # each is right
    make = _Clips(
        path=path,
        place=_Place(str(root_dir), root, prefixes),
        lines=lines,
        texts=texts,
        counts=counts,
        is_numbered=np.array([_is_numbered(line.split("\t", 1)[0], times) for line in lines]),
    )

    def paths(medium: str) -> Iterator[tuple[int, str]]:
        column = 1 if medium == "video" else 2
        for number, line in enumerate(lines, start=FIRST_LINE):
            yield number, make.place(line.split("\t", 3)[column])

    if problems := missing_media(paths, media):
        raise LabelError.from_problems(path, problems, _HINT)
    return Utterances(make, num_frames, [can_be_seen(text) for text in texts], counts is not None)


@dataclass(frozen=True)
class _Place:
    """Where the files of a .tsv are."""

    root_dir: str
    root: str
    prefixes: Prefixes

    def __call__(self, column: str) -> str:
        return os.path.join(self.root_dir, rewrite(joined(self.root, column), self.prefixes))


@dataclass(frozen=True, kw_only=True)
class _Clips:
    """Makes clips of lines that were found good."""

    path: Path
    place: _Place
    lines: Lines
    texts: Lines
    counts: Lines | None
    is_numbered: np.ndarray

    def __call__(self, index: int) -> Utterance:
        row = _row(index + FIRST_LINE, self.lines[index])
        return Utterance(
            id=f"{row.id}:{row.line}" if self.is_numbered[index] else row.id,
            video_path=Path(self.place(row.video)),
            audio_path=Path(self.place(row.audio)),
            num_frames=row.num_frames,
            text=" ".join(self.texts[index].split()),
            source=f"{self.path}:{row.line}",
            languages=row.languages,
            run_lengths=None if self.counts is None else _runs(self.counts[index], row.num_frames),
        )


def tiny(folder: Path) -> Path:
    """Writes a manifest of two clips, one to be transcribed, one to be translated."""
    path = folder / "labels.tsv"
    path.write_text("/data\nset/en-en\ta.mp4\ta.wav\t50\t32000\nset/en-es\tb.mp4\tb.wav\t25\t16000\n")
    path.with_suffix(TEXT_SUFFIX).write_text("hello world\nel zorro\n")
    return path


def joined(root: str, column: str) -> str:
    """A path as the .tsv gives it, which prefixes are compared with: without "./" in front.

    One that begins with a name in braces (`{LRS3_ROOT}/...`, as MMS-LLaMA's) waits for its own root.
    """
    return column if root in ("", ".") or column.startswith("{") else os.path.join(root, column)


def read_rows(path: Path) -> tuple[str, list[Row]]:
    """The root and the clips of a .tsv, without the files beside it. Raises LabelError."""
    root, lines = _open(path)
    return root, list(_rows(path, lines))


def _open(path: Path) -> tuple[str, Lines]:
    """The root and the lines of the clips."""
    lines = read_lines(path)
    num_columns = lines[0].count("\t") + 1
    if num_columns > 1:
        problem = f"expected the root folder alone, found {num_columns} columns; `.` is --root-dir"
        raise LabelError.from_problems(path, [Problem(1, problem)])
    if len(lines) == 1:
        raise LabelError.from_problems(path, [Problem(1, "expected clips after the root, found none")])
    return lines[0], lines.between(1, len(lines))


def _rows(path: Path, lines: Lines) -> Iterator[Row]:
    """Raises LabelError at the end."""
    problems = []
    for number, line in enumerate(lines, start=FIRST_LINE):
        try:
            yield _row(number, line)
        except ValueError as error:
            problems.append(problem_of(error, number))
    if problems:
        raise LabelError.from_problems(path, problems)


def _row(number: int, line: str) -> Row:
    columns = line.split("\t")
    if len(columns) not in _NUM_COLUMNS:
        raise ValueError(
            "expected 5 columns divided by tabs (id, video, audio, video frames, audio samples), "
            f"found {len(columns)}"
        )
    for name, column in zip(("an id", "a video path", "an audio path"), columns, strict=False):
        if not column.strip():
            raise ValueError(f"expected {name}, found nothing")
    return Row(
        line=number,
        id=columns[0],
        video=columns[1],
        audio=columns[2],
        num_frames=positive(columns[3], column=4),
        languages=languages_of(columns[0]),
    )


def languages_of(row_id: str) -> tuple[str, str]:
    """(spoken, written) of an id `<dataset>/<src>-<tgt>[/...]`; en-en where it names no pair.

    Raises:
        ValueError: languages that are not known.
    """
    parts = row_id.split("/")
    if len(parts) < 2 or not _PAIR.fullmatch(parts[1]):
        return DEFAULT_LANGUAGES
    return parse_direction(parts[1])


def read_beside(path: Path, suffix: str, num_clips: int) -> Lines:
    """The lines of the file beside a .tsv that has one for each of its clips. Raises LabelError."""
    beside = path.with_suffix(suffix)
    if not beside.is_file():
        raise LabelError(f"{beside}: no such file; expected the transcripts of {path}, a line for each clip")
    return _lines_of_clips(beside, num_clips)


def _lines_of_clips(path: Path, num_clips: int) -> Lines:
    lines = split_lines(path)
    while len(lines) > num_clips and not lines[-1].strip():
        lines = lines.between(0, len(lines) - 1)
    if len(lines) != num_clips:
        raise LabelError(
            f"{path}: found {len(lines)} lines for {num_clips} clips; expected one for each, in their order"
        )
    return lines


def read_run_lengths(path: Path, nums_frames: Sequence[int]) -> list[tuple[int, ...]]:
    """Frames of each run of equal units, for clips of so many frames, in their order.

    Raises:
        LabelError: another number of lines, or counts that do not sum to a clip's frames.
    """
    return list(_run_lengths(path, _lines_of_clips(path, len(nums_frames)), nums_frames))


def _run_lengths(path: Path, lines: Lines, nums_frames: Sequence[int]) -> Iterator[tuple[int, ...]]:
    """Raises LabelError at the end."""
    problems = []
    for number, (line, num_frames) in enumerate(zip(lines, nums_frames, strict=True), start=1):
        try:
            yield _runs(line, num_frames)
        except ValueError as error:
            problems.append(problem_of(error, number))
    if problems:
        raise LabelError.from_problems(path, problems)


def _runs(line: str, num_frames: int) -> tuple[int, ...]:
    words = line.split()
    wrong = [word for word in words if not (word.isascii() and word.isdecimal()) or int(word) == 0]
    if wrong or not words:
        found = repr(wrong[0]) if wrong else "nothing"
        raise ValueError(f"expected positive numbers of frames divided by spaces, found {found}")
    counts = tuple(map(int, words))
    if sum(counts) != num_frames:
        raise ValueError(f"expected counts that sum to the clip's {num_frames} frames, found {sum(counts)}")
    return counts


def _is_numbered(row_id: str, times: Mapping[str, int]) -> bool:
    """An id that is there once stays as it is; one that could be taken for a made one does not."""
    return times[row_id] > 1 or _ENDS_LIKE_A_LINE.search(row_id) is not None


def row_id(utterance: Utterance) -> str:
    """The id as the .tsv has it, without the line number that made it unique."""
    return utterance.id.removesuffix(f":{utterance.position[1]}")
