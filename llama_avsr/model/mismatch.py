"""Lips that now and then say something else than the sound, so that a model learns which of the two to trust.

An encoder of lips that was taught with the clips a model is trained on is nearly always right on them, and
not on others: the model would believe it where clear sound says otherwise.

Letters: B clips, K tokens, D their width.
"""

from __future__ import annotations

import torch
from torch import Tensor

from datamodules.batch import Padded

LONGEST_SHARE = 4
"""A stretch is at most so small a part of its clip: a word or two."""


def mismatched(tokens: Padded, probability: float) -> Padded:
    """Tokens [B, K, D] of which each clip has, with `probability`, a stretch replaced by the next clip's.

    A batch of one clip stays as it is. Draws from torch's generator for the CPU.
    """
    num_clips = len(tokens.lengths)
    lengths = tokens.lengths.tolist()
    chosen = (torch.rand(num_clips) < probability).tolist()
    draws = torch.rand(num_clips, 2).tolist()
    replaced = torch.zeros(tokens.values.shape[:2], dtype=torch.bool)
    for clip, (length, place) in enumerate(draws):
        shared = min(lengths[clip], lengths[(clip + 1) % num_clips])
        num_replaced = min(1 + int(length * (lengths[clip] // LONGEST_SHARE)), shared)
        if chosen[clip] and num_clips > 1:
            start = int(place * (shared - num_replaced + 1))
            replaced[clip, start : start + num_replaced] = True
    return Padded(_replace(tokens.values, replaced), tokens.lengths)


def _replace(values: Tensor, replaced: Tensor) -> Tensor:
    return torch.where(replaced.to(values.device)[..., None], values.roll(-1, dims=0), values)
