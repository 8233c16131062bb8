"""The padding contract, tried on a loaded encoder: a clip alone and in a batch gives the same frames."""

from __future__ import annotations

from collections.abc import Callable

import torch

from datamodules.batch import Padded

SAMPLES = (9_600, 16_000)
"""Of the two clips that are tried."""
POISON = 1e3
TOLERANCE = 1e-3
"""Largest deviation that is put down to rounding in float32, relative to the frames' spread."""


@torch.no_grad()
def keeps_clips_apart(encode: Callable[..., Padded]) -> bool:
    """Whether a clip's frames are its own, whatever stands beside it and in its padding.

    encode: an encoder of waveforms in eval mode and float32, on the CPU.
    """
    generator = torch.Generator().manual_seed(0)
    clips = [torch.randn(samples, generator=generator) for samples in SAMPLES]
    both = Padded.from_list(clips)
    both.values[~both.mask] = POISON
    together = encode(audio=both).unpad()
    alone = [encode(audio=Padded.from_list([clip])).unpad()[0] for clip in clips]
    for found, expected in zip(together, alone, strict=True):
        if found.shape != expected.shape:
            return False
        off = (found - expected).abs().max() / expected.std().clamp(min=1e-6)
        if not off <= TOLERANCE:  # not a number either
            return False
    return True
