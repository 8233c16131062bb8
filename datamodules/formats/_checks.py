"""What every label format checks: lines that can be used, and media that exist."""

from __future__ import annotations

import codecs
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from enum import Enum
from pathlib import Path
from typing import NamedTuple

from datamodules.table import Lines

MAX_REPORTED = 5
"""Broken lines named in an error; the rest are counted."""
LINE_ENDS = re.compile(rb"\r*\n|\r")
"""Of Unix, Windows and old Macs; a spreadsheet may write any."""
MIN_FILES_TO_LIST_A_FOLDER = 8
"""From so many files of one folder on, listing the folder once is faster than asking for each."""


MAX_FRAMES = 2**62
"""No clip is as long; what claims more fits into no array."""

Paths = Callable[[str], Iterable[tuple[int, str]]]
"""For "video" or "audio": the line of each clip, and where that file should be."""


class Kind(str, Enum):
    """What sort of problem a line has."""

    BROKEN = "unreadable line"
    EMPTY_TEXT = "empty text"
    DUPLICATE = "duplicate clip"
    MISSING_MEDIA = "missing media"


class Problem(NamedTuple):
    """Why a line cannot be used."""

    line: int
    reason: str
    kind: Kind = Kind.BROKEN
    first_line: int | None = None
    """Of a duplicate: where the clip is already."""

    def __str__(self) -> str:
        if self.first_line is None:
            return self.reason
        return f"{self.reason}, on line {self.first_line}; expected each clip once"


class LineError(ValueError):
    """Raised by what reads one line and does not know its number."""

    def __init__(self, reason: str, kind: Kind = Kind.BROKEN, first_line: int | None = None) -> None:
        super().__init__(reason)
        self.kind, self.first_line = kind, first_line


def problem_of(error: ValueError, line: int) -> Problem:
    """The problem of the line that was being read."""
    if isinstance(error, LineError):
        return Problem(line, str(error), error.kind, error.first_line)
    return Problem(line, str(error))


class LabelError(ValueError):
    """A label file that cannot be used: file, lines, reasons."""

    path: Path | None = None
    """The file that `problems` count the lines of."""
    problems: tuple[Problem, ...] = ()
    """All that is wrong; empty where it is the file as a whole."""

    @classmethod
    def from_problems(cls, path: Path, problems: Sequence[Problem], hint: str = "") -> LabelError:
        """Report the first problems and count the lines of the rest; `hint` is a remedy worth naming."""
        shown = problems[:MAX_REPORTED]
        lines = [f"{path}:{problem.line}: {problem}" for problem in shown]
        # A line may have several.
        more = len({problem.line for problem in problems} - {problem.line for problem in shown})
        if more:
            lines.append(f"{path}: and {more} more line{'s' * (more > 1)} that cannot be used")
        if hint:
            lines.append(hint)
        lines.append("nothing was started; fix or remove these lines, see labels/README.md")
        error = cls("\n".join(lines))
        error.path, error.problems = path, tuple(problems)
        return error


def split_lines(path: Path) -> Lines:
    """The lines of a UTF-8 file, blank ones too, without line ends and byte order mark.

    Raises:
        LabelError: missing, or not UTF-8.
    """
    if path.exists() and not path.is_file():  # a pipe would be waited for
        raise LabelError(f"{path}: expected a label file, found a folder, a pipe or a device")
    try:
        content = path.read_bytes()
    except OSError as error:
        raise LabelError(f"{path}: cannot be read ({error.strerror}); expected a label file") from None
    try:
        content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise LabelError.from_problems(path, [Problem(line, "expected UTF-8, found other bytes")]) from None
    content = content.removeprefix(codecs.BOM_UTF8)
    return Lines(LINE_ENDS.sub(b"\n", content) if b"\r" in content else content)


def read_lines(path: Path) -> Lines:
    """The lines of a UTF-8 file, without line ends, byte order mark and trailing blank lines.

    Raises:
        LabelError: missing, not UTF-8, or empty.
    """
    lines = split_lines(path)
    count = len(lines)
    while count and not lines[count - 1].strip():
        count -= 1
    if not count:
        raise LabelError(f"{path}: expected one utterance a line, found an empty file; see labels/README.md")
    return lines.between(0, count)


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


def missing_media(paths: Paths, media: Sequence[str]) -> list[Problem]:
    """For each clip without the media it needs; `paths` is asked several times."""
    if not media:
        return []
    lacking = dict(_absent(paths, "video"))
    if "video" in media:
        return [
            Problem(line, f"expected a video at {Path(path)}, found none", Kind.MISSING_MEDIA)
            for line, path in lacking.items()
        ]
    if not lacking:
        return []
    return [
        Problem(line, f"expected audio at {Path(path)} or in a video beside, found none", Kind.MISSING_MEDIA)
        for line, path in _absent(paths, "audio")
        if line in lacking
    ]


def _absent(paths: Paths, medium: str) -> Iterator[tuple[int, str]]:
    there = _There(path for _, path in paths(medium))
    return ((line, path) for line, path in paths(medium) if not there.is_file(path))


class _There:
    """Which files there are. Each is asked for as often as it is in `paths`; a folder of many is listed once,
    and forgotten when all of it has been asked for."""

    def __init__(self, paths: Iterable[str]) -> None:
        self._left = Counter(_split(path)[0] for path in paths)
        self._listed: dict[str, set[str]] = {}

    def is_file(self, path: str) -> bool:
        folder, name = _split(path)
        listed = self._listed.get(folder)
        if listed is None:
            if self._left[folder] < MIN_FILES_TO_LIST_A_FOLDER:
                return os.path.isfile(path)
            listed = self._listed[folder] = set(os.listdir(folder) if os.path.isdir(folder) else ())
        self._left[folder] -= 1
        if not self._left[folder]:
            del self._listed[folder]
        return name in listed


def _split(path: str) -> tuple[str, str]:
    # As `os.path.split`, in a third of its time.
    place = path.rfind("/") + 1
    return path[:place] or "./", path[place:]
