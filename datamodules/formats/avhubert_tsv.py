"""The manifest of the AV-HuBERT and VSP-LLM family; see labels/README.md.

train.tsv             the root, then `id<TAB>video<TAB>audio<TAB>n_video_frames<TAB>n_audio_samples` a line
train.wrd             the transcripts, in the same order
train.cluster_counts  optional: frames of each run of equal visual units, in the same order
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from datamodules.batch import Utterance
from datamodules.formats._checks import (
    LabelError,
    Problem,
    missing_media,
    positive,
    problem_of,
    read_lines,
    split_lines,
)
from datamodules.formats._prefixes import parse, rewrite
from datamodules.languages import parse_direction

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


@dataclass(frozen=True, kw_only=True)
class Row:
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
) -> list[Utterance]:
    """Read a .tsv with the .wrd and, where there is one, the .cluster_counts beside it.

    A clip's path is the root of line 1 joined with its column, then rewritten by the first of
    `path_prefix` (`OLD=NEW`) that fits; what is relative after that lies below `root_dir`. `media`
    says which of "audio" and "video" must exist. The text may be empty.

    An id that is there several times gets the line number in the .tsv: `lrs3/en-es:12`.

    Raises:
        LabelError: naming the first broken lines and counting the rest.
    """
    path, root_dir = Path(path), Path(root_dir)
    prefixes = [parse(text) for text in path_prefix]
    root, rows = read_rows(path)
    texts = read_beside(path, TEXT_SUFFIX, len(rows))
    counts: list[tuple[int, ...] | None] = [None] * len(rows)
    if path.with_suffix(COUNTS_SUFFIX).exists():
        counts = [*read_run_lengths(path.with_suffix(COUNTS_SUFFIX), [row.num_frames for row in rows])]

    def located(column: str) -> Path:
        return Path(root_dir, rewrite(joined(root, column), prefixes))

    utterances = [
        Utterance(
            id=utterance_id,
            video_path=located(row.video),
            audio_path=located(row.audio),
            num_frames=row.num_frames,
            text=" ".join(text.split()),
            source=f"{path}:{row.line}",
            languages=row.languages,
            run_lengths=run_lengths,
        )
        for row, utterance_id, text, run_lengths in zip(rows, _unique_ids(rows), texts, counts, strict=True)
    ]
    if problems := missing_media(list(enumerate(utterances, start=FIRST_LINE)), media):
        raise LabelError.from_problems(path, problems, _HINT)
    return utterances


def tiny(folder: Path) -> Path:
    """Writes a manifest of two clips, one to be transcribed, one to be translated."""
    path = folder / "labels.tsv"
    path.write_text("/data\nset/en-en\ta.mp4\ta.wav\t50\t32000\nset/en-es\tb.mp4\tb.wav\t25\t16000\n")
    path.with_suffix(TEXT_SUFFIX).write_text("hello world\nel zorro\n")
    return path


def joined(root: str, column: str) -> str:
    """A path as the .tsv gives it, which prefixes are compared with: without "./" in front."""
    return column if root in ("", ".") else os.path.join(root, column)


def read_rows(path: Path) -> tuple[str, list[Row]]:
    """The root and the clips of a .tsv, without the files beside it. Raises LabelError."""
    root, *lines = read_lines(path)
    num_columns = root.count("\t") + 1
    if num_columns > 1:
        problem = f"expected the root folder alone, found {num_columns} columns; `.` is --root-dir"
        raise LabelError.from_problems(path, [Problem(1, problem)])
    if not lines:
        raise LabelError.from_problems(path, [Problem(1, "expected clips after the root, found none")])
    rows, problems = [], []
    for number, line in enumerate(lines, start=FIRST_LINE):
        try:
            rows.append(_row(number, line))
        except ValueError as error:
            problems.append(problem_of(error, number))
    if problems:
        raise LabelError.from_problems(path, problems)
    return root, rows


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


def read_beside(path: Path, suffix: str, num_clips: int) -> list[str]:
    """The lines of the file beside a .tsv that has one for each of its clips. Raises LabelError."""
    beside = path.with_suffix(suffix)
    if not beside.is_file():
        raise LabelError(f"{beside}: no such file; expected the transcripts of {path}, a line for each clip")
    return _lines_of_clips(beside, num_clips)


def _lines_of_clips(path: Path, num_clips: int) -> list[str]:
    lines = split_lines(path)
    while len(lines) > num_clips and not lines[-1].strip():
        lines.pop()
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
    runs, problems = [], []
    lines = _lines_of_clips(path, len(nums_frames))
    for number, (line, num_frames) in enumerate(zip(lines, nums_frames, strict=True), start=1):
        try:
            runs.append(_run_lengths(line, num_frames))
        except ValueError as error:
            problems.append(problem_of(error, number))
    if problems:
        raise LabelError.from_problems(path, problems)
    return runs


def _run_lengths(line: str, num_frames: int) -> tuple[int, ...]:
    words = line.split()
    wrong = [word for word in words if not (word.isascii() and word.isdecimal()) or int(word) == 0]
    if wrong or not words:
        found = repr(wrong[0]) if wrong else "nothing"
        raise ValueError(f"expected positive numbers of frames divided by spaces, found {found}")
    counts = tuple(map(int, words))
    if sum(counts) != num_frames:
        raise ValueError(f"expected counts that sum to the clip's {num_frames} frames, found {sum(counts)}")
    return counts


def _unique_ids(rows: Sequence[Row]) -> list[str]:
    """An id that is there once stays as it is; one that could be taken for a made one does not."""
    times = Counter(row.id for row in rows)
    return [
        f"{row.id}:{row.line}" if times[row.id] > 1 or _ENDS_LIKE_A_LINE.search(row.id) else row.id
        for row in rows
    ]


def row_id(utterance: Utterance) -> str:
    """The id as the .tsv has it, without the line number that made it unique."""
    return utterance.id.removesuffix(f":{utterance.position[1]}")
