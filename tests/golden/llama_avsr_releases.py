"""The recorded checkpoints of Llama-AVSR, one archive: they hold the same encoders."""

from __future__ import annotations

import functools
import tarfile
import tempfile
from pathlib import Path

FOLDER = Path(__file__).parent / "llama_avsr"


def release(name: str) -> Path:
    """The checkpoint `name`.pth, in a folder that lives as long as the process."""
    return Path(_unpacked().name) / f"{name}.pth"


@functools.cache
def _unpacked() -> tempfile.TemporaryDirectory:
    folder = tempfile.TemporaryDirectory(prefix="llama_avsr_releases_")
    with tarfile.open(FOLDER / "released.tar.xz") as archive:
        archive.extractall(folder.name, filter="data")
    return folder
