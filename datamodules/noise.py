"""Noise: mixing it with speech at a signal-to-noise ratio, and making babble.

Letter: N samples.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from datamodules.defaults import CLEAN_SNR_DB


def add_noise(speech: Tensor, noise: Tensor, snr_db: float) -> Tensor:
    """`speech` [N] plus `noise` [N], scaled so that their energies are `snr_db` apart; 0 dB is equal energy.

    Silent noise adds nothing, and silent speech gets none: no ratio can be set.
    """
    if len(speech) != len(noise):
        raise ValueError(f"expected noise as long as the speech, {len(speech)} samples, found {len(noise)}")
    if snr_db >= CLEAN_SNR_DB:
        return speech
    speech_norm, noise_norm = (
        torch.linalg.vector_norm(x, dtype=torch.float64).item() for x in (speech, noise)
    )
    if noise_norm == 0:
        return speech
    return torch.add(speech, noise, alpha=speech_norm / (noise_norm * 10 ** (snr_db / 20)))


def excerpt(noise: Tensor, start: int, num_samples: int) -> Tensor:
    """[num_samples] of `noise` [N] from `start` on, beginning anew where it ends."""
    if len(noise) == 0:
        raise ValueError("expected noise, found no samples")
    start %= len(noise)
    if start + num_samples <= len(noise):
        return noise[start : start + num_samples]
    return noise[torch.arange(start, start + num_samples) % len(noise)]


def make_babble(waveforms: Sequence[Tensor], num_samples: int) -> Tensor:
    """Many talkers at once: the mean of `waveforms` [N_i], each repeated to [num_samples].

    The usual recipe takes 30 random utterances of at least 15 s each.
    """
    if not waveforms:
        raise ValueError("expected waveforms to make babble of, found none")
    return torch.stack([excerpt(waveform, 0, num_samples) for waveform in waveforms]).mean(dim=0)
