"""The label CSV of the auto-avsr family, without a header; see labels/README.md.

dataset,rel_path,n_video_frames,token_ids             4 columns: the text lies in a .txt of its own
dataset,rel_path,n_video_frames,<ignored>,text        5 columns: the text may hold commas
"""

from __future__ import annotations

import os
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from datamodules.batch import Utterance, can_be_seen
from datamodules.formats._checks import (
    MAX_FRAMES,
    Kind,
    LabelError,
    LineError,
    Problem,
    missing_media,
    positive,
    problem_of,
    read_lines,
    relative_path_problem,
)
from datamodules.table import Lines, Utterances

SUFFIXES = (".csv",)
NAMES_LANGUAGES = False
VIDEO_FOLDER_MARK = "_video_seg"
TEXT_FOLDER_MARK = "_text_seg"


def read(path: Path, root_dir: Path, media: Sequence[str] = ("audio", "video")) -> Utterances:
    """Read a label CSV whose media lie at `root_dir/dataset/rel_path`.

    4-column files take the text, lower-cased, from `<dataset>_text_segNs/...` beside
    `<dataset>_video_segNs/...`. `media` says which of "audio" and "video" must exist.

    Raises:
        LabelError: naming the first broken lines and counting the rest.
    """
    path, root_dir = Path(path), Path(root_dir)
    lines = read_lines(path)
    num_columns = len(_columns(lines[0]))
    if num_columns not in (4, 5):
        problem = Problem(1, f"expected 4 or 5 columns, found {num_columns}")
        raise LabelError.from_problems(path, [problem])
    reader = _Reader(root_dir, num_columns)
    problems = []
    for number, line in enumerate(lines, start=1):
        try:
            reader.take(number, line)
        except ValueError as error:
            problems.append(problem_of(error, number))
    broken = {problem.line for problem in problems}

    def paths(medium: str) -> Iterator[tuple[int, str]]:
        for number, line in enumerate(lines, start=1):
            if number not in broken:
                dataset, rel_path, _ = line.split(",", 2)
                rel_path = rel_path if medium == "video" else f"{os.path.splitext(rel_path)[0]}.wav"
                yield number, f"{root_dir}/{dataset}/{rel_path}"

    problems += missing_media(paths, media)
    if problems:
        raise LabelError.from_problems(path, sorted(problems))
    texts = Lines.of(reader.texts) if num_columns == 4 else None
    return Utterances(_Clips(path, root_dir, lines, texts), reader.num_frames, reader.has_text)


def tiny(folder: Path) -> Path:
    """Writes a label file of two clips."""
    path = folder / "labels.csv"
    lines = ("set,set_video_seg16s/a/00.mp4,50,0,hello world", "set,set_video_seg16s/b/01.mp4,25,0,the fox")
    path.write_text("\n".join(lines) + "\n")
    return path


def _columns(line: str) -> list[str]:
    return line.split(",", 4)


@dataclass(frozen=True)
class _Clips:
    """Makes clips of lines that were found good."""

    path: Path
    root_dir: Path
    lines: Lines
    texts: Lines | None
    """Of a file with 4 columns."""

    def __call__(self, row: int) -> Utterance:
        dataset, rel_path, num_frames, *rest = _columns(self.lines[row])
        stem = f"{dataset}/{os.path.splitext(rel_path)[0]}"
        return Utterance(
            id=stem,
            video_path=Path(f"{self.root_dir}/{dataset}/{rel_path}"),
            audio_path=Path(f"{self.root_dir}/{stem}.wav"),
            num_frames=int(num_frames),
            text=" ".join(rest[1].split()) if self.texts is None else self.texts[row],
            source=f"{self.path}:{row + 1}",
        )


class _Reader:
    """Checks the lines of one file, remembering the ids it has met."""

    def __init__(self, root_dir: Path, num_columns: int) -> None:
        self.root_dir, self.num_columns = root_dir, num_columns
        self.num_frames = array("q")
        self.has_text = array("b")
        self.texts: list[str] = []
        """Of a file with 4 columns."""
        self._line_of_id: dict[str, int] = {}

    def take(self, number: int, line: str) -> None:
        """Raises ValueError with the reason alone; the caller knows file and line."""
        columns = _columns(line)
        if len(columns) != self.num_columns:
            raise ValueError(
                f"expected {self.num_columns} columns as on the first line, found {len(columns)}"
            )
        dataset, rel_path, num_frames = columns[:3]
        for part in (dataset, rel_path):
            if problem := relative_path_problem(part):
                raise ValueError(problem)
        utterance_id = f"{dataset}/{os.path.splitext(rel_path)[0]}"
        first = self._line_of_id.setdefault(utterance_id, number)
        if first != number:
            raise LineError(f"{utterance_id} is a duplicate clip", Kind.DUPLICATE, first)
        self.num_frames.append(min(positive(num_frames, column=3), MAX_FRAMES))
        if self.num_columns == 4:
            self.texts.append(text := self._text(dataset, rel_path))
        else:
            text = _not_empty(columns[4])
        self.has_text.append(can_be_seen(text))

    def _text(self, dataset: str, rel_path: str) -> str:
        if VIDEO_FOLDER_MARK not in rel_path:
            raise ValueError(
                f"4 columns: the text of {rel_path!r} cannot be found, expected a folder named like "
                f"{dataset}{VIDEO_FOLDER_MARK}24s in the path; or give the text in a 5th column"
            )
        text_path = self.root_dir / dataset / rel_path.replace(VIDEO_FOLDER_MARK, TEXT_FOLDER_MARK, 1)
        text_path = text_path.with_suffix(".txt")
        try:
            text = text_path.read_text(encoding="utf-8-sig")
        except (OSError, UnicodeDecodeError):
            raise ValueError(f"4 columns: expected the text in {text_path}, which cannot be read") from None
        return _not_empty(text).lower()


def _not_empty(text: str) -> str:
    text = " ".join(text.split())
    if not text:
        raise LineError("expected a transcript, found empty text", Kind.EMPTY_TEXT)
    return text
