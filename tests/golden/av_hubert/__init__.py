"""Access to the recordings in this folder; README.md says what they are."""

from __future__ import annotations

import functools
import tarfile
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

FOLDER = Path(__file__).parent
PLAIN_CHECKPOINT = FOLDER / "micro_concat_prenorm.plain.pt"
PACKED_LAYOUTS = ("pt", "dictconfig.pt", "argsns.pt", "finetuned_prefix.pt")
TOLERANCE = 1e-4


@functools.cache
def arrays(name: str) -> dict[str, Tensor]:
    """The arrays of one .npz as tensors."""
    with np.load(FOLDER / f"{name}.npz") as file:
        return {key: torch.from_numpy(file[key]) for key in file}


def unpack_layouts(folder: Path) -> dict[str, Path]:
    """Write every layout's checkpoint into `folder`; the plain one stays where it is."""
    with tarfile.open(FOLDER / "layouts.tar.xz") as archive:
        archive.extractall(folder, filter="data")
    packed = {layout: folder / f"micro_concat_prenorm.{layout}" for layout in PACKED_LAYOUTS}
    return {"plain.pt": PLAIN_CHECKPOINT, **packed}
