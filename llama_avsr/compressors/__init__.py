"""Compressors fold encoder frames into few LLM tokens, one file each; the file's name is the flag's value.

A module of this folder offers

    make(dim, ratio, **own options) -> CompressorProtocol
        dim: width of the encoder's frames; ratio: the stream's --downsample-ratio-...
    FOLDS_BY_RATIO: bool    whether it makes use of the ratio
    TINY: dict              own options of an instance for the contract tests

and, where it has options of its own, a dataclass `Options` with their declarations. A compressor that is an
`nn.Module` with weights is trained, saved and loaded with the projector. One whose attribute `listens` is
true is handed more about the clips than their frames: `heard`, a `Heard`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from datamodules.batch import Padded


class UnitFinder(Protocol):
    """Finds visual units in the features of an AV-HuBERT layer."""

    layer: int
    silent_audio: bool
    """Whether the features are those of a video with silence, and not of a video alone."""

    def __call__(self, features: Padded) -> list[Tensor]:
        """[B, T, C] -> each clip's run lengths, int64 on the CPU."""
        ...


@dataclass(frozen=True)
class Heard:
    """What is known of clips besides the frames that are compressed."""

    seconds: Tensor
    """[B] float64, on the CPU: how long they are."""
    sound: Padded | None = None
    """Frames of the encoder that hears them, [B, T, C]; None where they are not heard."""
    rate_hz: float = 0.0
    """Of these frames."""

    def sound_at(self, rate_hz: float) -> Padded:
        """Every n-th frame of the sound, as far as the clips go. rate_hz: a whole fraction of the frames'."""
        step = round(self.rate_hz / rate_hz)
        lengths = self.sound.lengths.minimum((self.seconds * self.rate_hz).round().long())
        return Padded(self.sound.values[:, : int(lengths.max()) : step], (lengths + step - 1) // step)


class CompressorProtocol(Protocol):
    ratio: int
    """Frames of a group that must not be broken: videos are cut to whole ones. 1 where there is no such."""
    units: UnitFinder | None
    """What finds the runs for `__call__`; None where it needs none, or the label file has them."""

    def num_tokens(self, frames: int) -> int:
        """Tokens made of `frames` frames (at most). Works on ints and on integer tensors."""
        ...

    def out_dim(self, dim: int) -> int:
        """Width of a token made of frames of width `dim`."""
        ...

    def __call__(self, frames: Padded, runs: Sequence[Tensor] | None = None) -> Padded:
        """[B, T, C] -> [B, K, out_dim(C)]. runs: each clip's run lengths [R], which sum to its frames."""
        ...
