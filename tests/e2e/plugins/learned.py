"""A compressor with weights: a weighted sum of each group's frames, learnt, and a projection."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from datamodules.batch import Padded
from llama_avsr.compressors._groups import grouped
from llama_avsr.options.values import PositiveInt

FOLDS_BY_RATIO = True
TINY = {"learned_width": 6}


@dataclass(frozen=True, kw_only=True)
class Options:
    """Learned compression"""

    learned_width: PositiveInt = 12
    """Width of a token, with --compression-mode learned."""


class Compressor(nn.Module):
    units = None

    def __init__(self, dim: int, ratio: int, width: int) -> None:
        super().__init__()
        self.ratio = ratio
        self.width = width
        self.weights = nn.Parameter(torch.full((ratio,), 1 / ratio))
        self.narrow = nn.Linear(dim, width)

    def num_tokens(self, frames: int) -> int:
        return frames // self.ratio

    def out_dim(self, dim: int) -> int:
        return self.width

    def forward(self, frames: Padded, runs: object = None) -> Padded:
        groups = grouped(frames.zeroed(), self.ratio)
        return Padded(self.narrow(torch.einsum("bkrc,r->bkc", groups.values, self.weights)), groups.lengths)


def make(dim: int, ratio: int, learned_width: int) -> Compressor:
    return Compressor(dim, ratio, learned_width)
