"""What is done to a clip between its file and the network, all of it a function of the generator handed in.

Letters: T video frames, H and W pixels, N samples.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Generator, Tensor

from datamodules.batch import SAMPLE_RATE_HZ, SAMPLES_PER_VIDEO_FRAME, VIDEO_FPS, Utterance
from datamodules.damage import DAMAGES, Damage
from datamodules.defaults import CLEAN_SNR_DB
from datamodules.noise import add_noise
from datamodules.noise_sources import NoiseSource, Recording
from datamodules.seeding import randint

CROP_SIDE = 88
"""Pixels."""
GREY_MEAN = 0.421
GREY_STD = 0.165
VIDEO_MASK_WINDOW = 10
VIDEO_MASK_STRIDE = VIDEO_FPS
AUDIO_MASK_WINDOW = VIDEO_MASK_WINDOW * SAMPLES_PER_VIDEO_FRAME  # 6400
AUDIO_MASK_STRIDE = SAMPLE_RATE_HZ
VIDEO_AUGMENTATIONS = ("time_mask", "flip", "none")


def time_mask(values: Tensor, window: int, stride: int, rng: Generator) -> Tensor:
    """Set stretches of `values` [T, ...] to zero, in place: ceil(T / stride) of them, each of 0..window-1.

    Stretches may overlap.
    """
    num_positions = len(values)
    for _ in range(math.ceil(num_positions / stride)):
        length = min(randint(0, window - 1, rng), num_positions)
        start = randint(0, num_positions - length, rng)
        values[start : start + length] = 0
    return values


class VideoTransform:
    """Grey frames, uint8 [T, H, W], to what a video encoder takes: float32 [T, 88, 88].

    Order: to 0..1, crop (random in training, one place per clip; centre otherwise), time mask or horizontal
    flip (training), then `(x - 0.421) / 0.165`. A masked frame is black before it is normalised.
    """

    def __init__(self, train: bool, augmentation: str = "time_mask") -> None:
        if augmentation not in VIDEO_AUGMENTATIONS:
            raise ValueError(
                f"expected video augmentation {', '.join(VIDEO_AUGMENTATIONS)}, found {augmentation!r}"
            )
        self.train = train
        self.augmentation = augmentation if train else "none"

    def __call__(self, frames: Tensor, rng: Generator) -> Tensor:
        height, width = frames.shape[1:]
        rows, columns = self.crop(height, width, rng)
        return self.values(frames[:, rows, columns], rng)

    def crop(self, height: int, width: int, rng: Generator) -> tuple[slice, slice]:
        """The rows and columns that the network sees."""
        if self.train:
            top, left = randint(0, height - CROP_SIDE, rng), randint(0, width - CROP_SIDE, rng)
        else:
            # Python's rounding (half to even) is what released models were evaluated with.
            top, left = round((height - CROP_SIDE) / 2), round((width - CROP_SIDE) / 2)
        return slice(top, top + CROP_SIDE), slice(left, left + CROP_SIDE)

    def values(self, cropped: Tensor, rng: Generator) -> Tensor:
        """All that follows the crop, of frames that are uint8 [T, 88, 88]."""
        values = cropped.float()
        if self.augmentation == "flip" and randint(0, 1, rng):
            values = values.flip(-1)
        if self.augmentation == "time_mask":
            values = time_mask(values, VIDEO_MASK_WINDOW, VIDEO_MASK_STRIDE, rng)
        return values.mul_(1 / 255).sub_(GREY_MEAN).div_(GREY_STD)


class AudioTransform:
    """Waveform, float32 [N], to a waveform: cut or pad, time mask (training), noise.

    noise: a recording [N], another source, or None, when every SNR must mean clean.
    snrs_db: one of these is drawn for each clip; 0 is 0 dB, 999999 is clean.
    damage: its share of the sound, done before all else.
    """

    def __init__(
        self,
        train: bool,
        noise: Tensor | NoiseSource | None = None,
        snrs_db: Sequence[float] = (CLEAN_SNR_DB,),
        damage: Damage = DAMAGES["none"],
    ) -> None:
        if not snrs_db:
            raise ValueError(f"expected at least one SNR, found none; {CLEAN_SNR_DB:.0f} is clean")
        noisy = [snr for snr in snrs_db if snr < CLEAN_SNR_DB]
        if noise is None and noisy:
            raise ValueError(f"an SNR of {noisy[0]:g} dB needs a noise file, none was given")
        self.train = train
        self.noise = Recording(noise) if isinstance(noise, Tensor) else noise
        self.damage = damage
        self.snrs_db = tuple(float(snr) for snr in snrs_db)

    def __call__(
        self,
        waveform: Tensor,
        rng: Generator,
        num_frames: int | None = None,
        clip: Utterance | None = None,
    ) -> Tensor:
        """`num_frames`: length to cut or pad to, in video frames; None keeps the waveform's own.

        clip: whose sound it is, for noise that depends on it.
        """
        if num_frames is not None:
            waveform = cut_or_pad(waveform, num_frames * SAMPLES_PER_VIDEO_FRAME)
        waveform = self.damage.hear(waveform)
        if self.train:
            waveform = time_mask(waveform.clone(), AUDIO_MASK_WINDOW, AUDIO_MASK_STRIDE, rng)
        snr_db = self.snrs_db[randint(0, len(self.snrs_db) - 1, rng)]
        if self.noise is None or snr_db >= CLEAN_SNR_DB:
            return waveform
        return add_noise(waveform, self.noise.draw(len(waveform), rng, clip), snr_db)


def cut_or_pad(waveform: Tensor, num_samples: int) -> Tensor:
    """`waveform` [N] to exactly [num_samples]: cut at the end, or zeros there."""
    num_missing = num_samples - len(waveform)
    return torch.nn.functional.pad(waveform, (0, num_missing)) if num_missing > 0 else waveform[:num_samples]
