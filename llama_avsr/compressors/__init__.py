"""Compressors fold encoder frames into few LLM tokens, one file each; the file's name is the flag's value.

A module of this folder offers `Compressor(ratio)`.
"""

from __future__ import annotations

from typing import Protocol

from datamodules.batch import Padded


class CompressorProtocol(Protocol):
    ratio: int
    """Encoder frames folded into one token."""

    def num_tokens(self, frames: int) -> int:
        """Tokens made of `frames` frames. Works on ints and on integer tensors."""
        ...

    def out_dim(self, dim: int) -> int:
        """Width of a token made of frames of width `dim`."""
        ...

    def __call__(self, frames: Padded) -> Padded:
        """[B, T, C] -> [B, K, out_dim(C)]."""
        ...
