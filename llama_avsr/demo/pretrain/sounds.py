"""What is done to a clip's sound before an encoder hears it in pretraining.

Letter: N samples.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from datamodules.defaults import CLEAN_SNR_DB
from datamodules.noise import add_noise, make_babble
from datamodules.transforms import AUDIO_MASK_STRIDE, AUDIO_MASK_WINDOW, time_mask
from llama_avsr.demo.pretrain.clips import INT16_SCALE, Clip

SNRS_DB = (-5.0, 0.0, 5.0, 10.0, 15.0, CLEAN_SNR_DB, CLEAN_SNR_DB)
BABBLE_VOICES = 6
MAX_STRETCH = 1.15
MAX_TILT = 0.5


def named(snr_db: float) -> str:
    """For the log: "clean", "5 dB"."""
    return "clean" if snr_db >= CLEAN_SNR_DB else f"{snr_db:g} dB"


@dataclass(frozen=True)
class Sound:
    """A clip as it is heard."""

    waveform: Tensor
    """[N] float32."""
    stretch: float = 1.0
    """How much longer than the clip it is; the times of its phones grow alike."""


class Microphone:
    """Hears clips, alone or with the voices of others in the background.

    clips: the others.
    """

    def __init__(self, clips: Sequence[Clip], seed: int) -> None:
        self.clips = clips
        self.rng = random.Random(seed)
        self.generator = torch.Generator().manual_seed(seed)

    def plain(self, clip: Clip, snr_db: float) -> Sound:
        """The clip as it is, at `snr_db`."""
        return Sound(self._noisy(_waveform(clip), snr_db))

    def varied(self, clip: Clip, stretched: bool) -> Sound:
        """The clip as training hears it: at one of `SNRS_DB`, of another timbre, at times with gaps.

        stretched: faster or slower as well, which moves pitch and formants as another vocal tract does.
        """
        waveform, stretch = _waveform(clip), 1.0
        if stretched:
            stretch = MAX_STRETCH ** self.rng.uniform(-1, 1)
            places = np.arange(int(len(waveform) * stretch)) / stretch
            resampled = np.interp(places, np.arange(len(waveform)), waveform.numpy())
            waveform = torch.from_numpy(resampled.astype(np.float32))
        if self.rng.random() < 0.5:
            waveform = time_mask(waveform.clone(), AUDIO_MASK_WINDOW, AUDIO_MASK_STRIDE, self.generator)
        waveform = self._noisy(waveform, self.rng.choice(SNRS_DB))
        tilted = waveform.clone()
        tilted[1:] -= self.rng.uniform(-MAX_TILT, MAX_TILT) * waveform[:-1]
        return Sound(tilted, stretch)

    def _noisy(self, waveform: Tensor, snr_db: float) -> Tensor:
        if snr_db >= CLEAN_SNR_DB:
            return waveform
        others = [_waveform(clip) for clip in self.rng.sample(self.clips, BABBLE_VOICES)]
        rolled = [other.roll(self.rng.randrange(len(other))) for other in others]
        return add_noise(waveform, make_babble(rolled, len(waveform)), snr_db)


def _waveform(clip: Clip) -> Tensor:
    return torch.from_numpy(clip.waveform.astype(np.float32) / INT16_SCALE)
