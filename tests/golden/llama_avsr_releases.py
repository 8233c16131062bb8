"""The recorded checkpoints of Llama-AVSR, one archive: they hold the same encoders."""

from __future__ import annotations

from pathlib import Path

from tests.golden.archives import unpacked

FOLDER = Path(__file__).parent / "llama_avsr"


def release(name: str) -> Path:
    """The checkpoint `name`.pth, in a folder that lives as long as the process."""
    return unpacked(FOLDER / "released.tar.xz") / f"{name}.pth"
