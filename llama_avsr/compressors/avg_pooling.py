"""Average neighbouring frames; an incomplete group at the end is dropped."""

from __future__ import annotations

from torch import nn

from datamodules.batch import Padded


class Compressor(nn.Module):
    def __init__(self, ratio: int) -> None:
        super().__init__()
        self.ratio = ratio

    def num_tokens(self, frames: int) -> int:
        return frames // self.ratio

    def out_dim(self, dim: int) -> int:
        return dim

    def forward(self, frames: Padded) -> Padded:
        """[B, T, C] -> [B, T // ratio, C]."""
        batch, time, dim = frames.values.shape
        tokens = self.num_tokens(time)
        values = frames.values[:, : tokens * self.ratio].reshape(batch, tokens, self.ratio, dim).mean(dim=2)
        return Padded(values, self.num_tokens(frames.lengths))
