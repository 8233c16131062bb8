"""What every label format checks: lines that can be used, and media that exist."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

from datamodules.batch import Utterance

MAX_REPORTED = 5
"""Broken lines named in an error; the rest are counted."""
MIN_FILES_TO_LIST_A_FOLDER = 8
"""From so many files of one folder on, listing the folder once is faster than asking for each."""


class LabelError(ValueError):
    """A label file that cannot be used: file, lines, reasons."""

    path: Path | None = None
    """The file that `problems` count the lines of."""
    problems: tuple[tuple[int, str], ...] = ()
    """(line, reason) of all that is wrong; empty where it is the file as a whole."""

    @classmethod
    def from_problems(cls, path: Path, problems: Sequence[tuple[int, str]], hint: str = "") -> LabelError:
        """Report the first (line, reason) pairs and count the rest; `hint` is a remedy worth naming."""
        lines = [f"{path}:{line}: {reason}" for line, reason in problems[:MAX_REPORTED]]
        if len(problems) > MAX_REPORTED:
            lines.append(f"{path}: and {len(problems) - MAX_REPORTED} more lines that cannot be used")
        if hint:
            lines.append(hint)
        lines.append("nothing was started; mend or remove these lines, see labels/README.md")
        error = cls("\n".join(lines))
        error.path, error.problems = path, tuple(problems)
        return error


def split_lines(path: Path) -> list[str]:
    """The lines of a UTF-8 file, blank ones too, without line ends and byte order mark.

    Raises:
        LabelError: missing, or not UTF-8.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise LabelError(f"{path}: cannot be read ({error.strerror}); expected a label file") from None
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise LabelError.from_problems(path, [(line, "expected UTF-8, found other bytes")]) from None
    lines = [line.removesuffix("\r") for line in text.split("\n")]
    return lines if lines[-1] else lines[:-1]


def read_lines(path: Path) -> list[str]:
    """The lines of a UTF-8 file, without line ends, byte order mark and trailing blank lines.

    Raises:
        LabelError: missing, not UTF-8, or empty.
    """
    lines = split_lines(path)
    while lines and not lines[-1].strip():
        lines.pop()
    if not lines:
        raise LabelError(f"{path}: expected one utterance a line, found an empty file; see labels/README.md")
    return lines


def positive(text: str, column: int) -> int:
    """A number of video frames; raises ValueError with the reason alone."""
    # `isdecimal` and not `int()`, which takes " 7 ", "+7" and "1_000" too.
    if not (text.isascii() and text.isdecimal()) or int(text) == 0:
        raise ValueError(f"expected a positive number of video frames in column {column}, found {text!r}")
    return int(text)


def relative_path_problem(rel_path: str) -> str | None:
    """Why a path of a label file is no path below its root; None where it is."""
    if not rel_path.strip():
        return "expected a path, found nothing"
    if rel_path.startswith("/") or ".." in rel_path.split("/"):
        return f"expected a path below the root folder, found {rel_path!r}"
    return None


def missing_media(utterances: Sequence[tuple[int, Utterance]], media: Sequence[str]) -> list[tuple[int, str]]:
    """(line, reason) for each utterance without the media it needs."""
    if not media:
        return []
    existing = _existing(str(path) for _, u in utterances for path in (u.video_path, u.audio_path))
    problems = []
    for line, utterance in utterances:
        has_video = str(utterance.video_path) in existing
        if "video" in media and not has_video:
            problems.append((line, f"expected a video at {utterance.video_path}, found none"))
        elif "audio" in media and not has_video and str(utterance.audio_path) not in existing:
            problems.append(
                (line, f"expected audio at {utterance.audio_path} or in a video beside, found none")
            )
    return problems


def _existing(paths: Iterable[str]) -> set[str]:
    # Strings, not Paths: a training set has hundreds of thousands of them.
    by_folder: dict[str, set[str]] = defaultdict(set)
    for path in paths:
        folder, name = os.path.split(path)
        by_folder[folder].add(name)
    existing: set[str] = set()
    for folder, wanted in by_folder.items():
        if len(wanted) < MIN_FILES_TO_LIST_A_FOLDER:
            found = {name for name in wanted if os.path.isfile(os.path.join(folder, name))}
        else:
            found = wanted.intersection(os.listdir(folder) if os.path.isdir(folder) else ())
        existing.update(os.path.join(folder, name) for name in found)
    return existing
