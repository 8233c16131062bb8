"""Recordings that lie in archives: what several of them hold is kept once."""

from __future__ import annotations

import functools
import tarfile
import tempfile
from pathlib import Path


def unpacked(archive: Path) -> Path:
    """A folder with the files of a `.tar.xz`, which lives as long as the process."""
    return Path(_unpacked(archive).name)


@functools.cache
def _unpacked(archive: Path) -> tempfile.TemporaryDirectory:
    folder = tempfile.TemporaryDirectory(prefix=f"{archive.parent.name}_{archive.name.partition('.')[0]}_")
    with tarfile.open(archive) as opened:
        opened.extractall(folder.name, filter="data")
    return folder
