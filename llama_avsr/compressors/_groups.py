"""Groups of as many neighbouring frames."""

from __future__ import annotations

from datamodules.batch import Padded


def grouped(frames: Padded, size: int) -> Padded:
    """[B, T, C] -> [B, T // size, size, C]; an incomplete group at the end is dropped."""
    batch, time, dim = frames.values.shape
    groups = time // size
    values = frames.values[:, : groups * size].reshape(batch, groups, size, dim)
    return Padded(values, frames.lengths // size)
