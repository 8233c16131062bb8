"""What runs that go on where an earlier one stopped ask of files."""

from __future__ import annotations

import re
from pathlib import Path


def stamp(path: Path) -> list[int] | None:
    """Size in bytes and time of the last change, by which another file of its name is told apart.

    None where there is none.
    """
    try:
        status = path.stat()
    except OSError:
        return None
    return [status.st_size, status.st_mtime_ns]


def remove_parts(stem: Path) -> None:
    """Remove what a process that was killed has left of the clips of one video.

    They are `stem`, or `stem` with a number (`talk_00`), with any suffix; files of `talk_one` are left alone:
    another process may be writing them.
    """
    part = re.compile(rf"\.{re.escape(stem.name)}(_\d\d+)?\.\w+\.\d+\.part")
    if stem.parent.is_dir():
        for path in stem.parent.iterdir():
            if part.fullmatch(path.name):
                path.unlink(missing_ok=True)
