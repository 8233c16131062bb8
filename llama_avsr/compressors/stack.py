"""Concatenate neighbouring frames; an incomplete group at the end is dropped."""

from __future__ import annotations

from torch import nn

from datamodules.batch import Padded
from llama_avsr.compressors._groups import grouped

FOLDS_BY_RATIO = True
TINY: dict[str, object] = {}


class Compressor(nn.Module):
    units = None

    def __init__(self, ratio: int) -> None:
        super().__init__()
        self.ratio = ratio

    def num_tokens(self, frames: int) -> int:
        return frames // self.ratio

    def out_dim(self, dim: int) -> int:
        return dim * self.ratio

    def forward(self, frames: Padded, runs: object = None) -> Padded:
        """[B, T, C] -> [B, T // ratio, out_dim(C)]."""
        groups = grouped(frames, self.ratio)
        return Padded(groups.values.flatten(2), groups.lengths)


def make(dim: int, ratio: int) -> Compressor:
    return Compressor(ratio)
