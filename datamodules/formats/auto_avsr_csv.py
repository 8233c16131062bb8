"""The label CSV of the auto-avsr family, without a header; see labels/README.md.

dataset,rel_path,n_video_frames,token_ids             4 columns: the text lies in a .txt of its own
dataset,rel_path,n_video_frames,<ignored>,text        5 columns: the text may hold commas
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from datamodules.batch import Utterance
from datamodules.formats._checks import (
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

SUFFIXES = (".csv",)
NAMES_LANGUAGES = False
VIDEO_FOLDER_MARK = "_video_seg"
TEXT_FOLDER_MARK = "_text_seg"


def read(path: Path, root_dir: Path, media: Sequence[str] = ("audio", "video")) -> list[Utterance]:
    """Read a label CSV whose media lie at `root_dir/dataset/rel_path`.

    4-column files take the text, lower-cased, from `<dataset>_text_segNs/...` beside
    `<dataset>_video_segNs/...`. `media` says which of "audio" and "video" must exist.

    Raises:
        LabelError: naming the first broken lines and counting the rest.
    """
    reader = _Reader(Path(path), Path(root_dir))
    lines = read_lines(reader.path)
    num_columns = len(_columns(lines[0]))
    if num_columns not in (4, 5):
        problem = Problem(1, f"expected 4 or 5 columns, found {num_columns}")
        raise LabelError.from_problems(reader.path, [problem])
    good, problems = [], []
    for number, line in enumerate(lines, start=1):
        try:
            good.append((number, reader.utterance(number, line, num_columns)))
        except ValueError as error:
            problems.append(problem_of(error, number))
    problems += missing_media(good, media)
    if problems:
        raise LabelError.from_problems(reader.path, sorted(problems))
    return [utterance for _, utterance in good]


def tiny(folder: Path) -> Path:
    """Writes a label file of two clips."""
    path = folder / "labels.csv"
    lines = ("set,set_video_seg16s/a/00.mp4,50,0,hello world", "set,set_video_seg16s/b/01.mp4,25,0,the fox")
    path.write_text("\n".join(lines) + "\n")
    return path


def _columns(line: str) -> list[str]:
    return line.split(",", 4)


class _Reader:
    """Turns the lines of one file into utterances, remembering the ids it has met."""

    def __init__(self, path: Path, root_dir: Path) -> None:
        self.path = path
        self.root_dir = root_dir
        self._line_of_id: dict[str, int] = {}

    def utterance(self, number: int, line: str, num_columns: int) -> Utterance:
        """Raises ValueError with the reason alone; the caller knows file and line."""
        columns = _columns(line)
        if len(columns) != num_columns:
            raise ValueError(f"expected {num_columns} columns as on the first line, found {len(columns)}")
        dataset, rel_path, num_frames = columns[:3]
        for part in (dataset, rel_path):
            if problem := relative_path_problem(part):
                raise ValueError(problem)
        stem = os.path.splitext(rel_path)[0]
        utterance_id = f"{dataset}/{stem}"
        first = self._line_of_id.setdefault(utterance_id, number)
        if first != number:
            raise LineError(f"{utterance_id} is a duplicate clip", Kind.DUPLICATE, first)
        return Utterance(
            id=utterance_id,
            video_path=Path(self.root_dir, dataset, rel_path),
            audio_path=Path(self.root_dir, dataset, stem + ".wav"),
            num_frames=positive(num_frames, column=3),
            text=self._text(dataset, rel_path) if num_columns == 4 else _not_empty(columns[4]),
            source=f"{self.path}:{number}",
        )

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
