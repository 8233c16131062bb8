"""Damage to the picture, or between picture and sound, drawn by the generator handed in.

Letters: T video frames, H and W pixels, N samples.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import torch
from PIL import Image
from torch import Generator, Tensor

from datamodules.batch import SAMPLE_RATE_HZ
from datamodules.seeding import randint

BLUR_SIGMA_PIXELS = 3.0
PATCH_SHARE = 0.4
"""Side of the patch over the side of the picture: it hides a mouth, or half of one."""
FROZEN_SHARE = 0.5
DROPPED_SHARE = 0.25
JPEG_QUALITY = 5
SHIFT_SECONDS = 0.2

Picture = Callable[[Tensor, Generator], Tensor]
"""uint8 [T, H, W] to the same shape."""


@dataclass(frozen=True)
class Damage:
    """What is done to a clip before it is transformed."""

    picture: Picture | None = None
    sound_shift_seconds: float = 0.0
    """Above 0 the sound is late."""
    silent: bool = False
    """No sound at all."""

    def hear(self, waveform: Tensor) -> Tensor:
        """[N] to [N]: what is moved in from outside is silent."""
        if self.silent:
            return torch.zeros_like(waveform)
        shift = round(self.sound_shift_seconds * SAMPLE_RATE_HZ)
        if not shift:
            return waveform
        moved = torch.zeros_like(waveform)
        if shift > 0:
            moved[shift:] = waveform[:-shift]
        else:
            moved[:shift] = waveform[-shift:]
        return moved


def blur(frames: Tensor, _: Generator) -> Tensor:
    """Out of focus: a Gaussian of 3 pixels."""
    reach = round(3 * BLUR_SIGMA_PIXELS)
    kernel = torch.exp(-(torch.arange(-reach, reach + 1) ** 2) / (2 * BLUR_SIGMA_PIXELS**2))
    kernel = kernel / kernel.sum()
    padded = torch.nn.functional.pad(frames[:, None].float(), (reach,) * 4, mode="replicate")
    rows = torch.nn.functional.conv2d(padded, kernel[None, None, :, None])
    return torch.nn.functional.conv2d(rows, kernel[None, None, None, :])[:, 0].round().to(torch.uint8)


def patch(frames: Tensor, rng: Generator) -> Tensor:
    """A grey square that wanders over the picture, straight and back at the edges, as a hand might."""
    num_frames, height, width = frames.shape
    sides = (round(PATCH_SHARE * height), round(PATCH_SHARE * width))
    damaged = frames.clone()
    tracks = [
        _to_and_fro(num_frames, size - side, rng) for size, side in zip((height, width), sides, strict=True)
    ]
    for frame, top, left in zip(damaged, *tracks, strict=True):
        frame[top : top + sides[0], left : left + sides[1]] = 128
    return damaged


def freeze(frames: Tensor, rng: Generator) -> Tensor:
    """A stretch of half of the clip stands still."""
    length = round(FROZEN_SHARE * len(frames))
    start = randint(0, len(frames) - length, rng)
    damaged = frames.clone()
    damaged[start : start + length] = frames[start]
    return damaged


def drop(frames: Tensor, rng: Generator) -> Tensor:
    """One frame in four is lost and black."""
    lost = torch.rand(len(frames), generator=rng) < DROPPED_SHARE
    return frames.masked_fill(lost[:, None, None], 0)


def slow(frames: Tensor, _: Generator) -> Tensor:
    """12.5 frames a second: every other frame is shown twice."""
    return frames[torch.arange(len(frames)) // 2 * 2]


def jpeg(frames: Tensor, _: Generator) -> Tensor:
    """Every frame compressed at quality 5 of 100."""
    return torch.from_numpy(np.stack([_through_jpeg(frame) for frame in frames.numpy()]))


def black(frames: Tensor, _: Generator) -> Tensor:
    """No picture at all."""
    return torch.zeros_like(frames)


DAMAGES: Mapping[str, Damage] = MappingProxyType(
    {
        "none": Damage(),
        **{own.__name__: Damage(own) for own in (blur, patch, freeze, drop, slow, jpeg, black)},
        "late": Damage(sound_shift_seconds=SHIFT_SECONDS),
        "early": Damage(sound_shift_seconds=-SHIFT_SECONDS),
        "silent": Damage(silent=True),
    }
)


def _to_and_fro(num_frames: int, room: int, rng: Generator) -> list[int]:
    """Places from 0 to `room`, once across in one to two seconds."""
    if room <= 0:
        return [0] * num_frames
    start, step = randint(0, 2 * room - 1, rng), room / randint(25, 50, rng)
    places = [round(start + step * frame) % (2 * room) for frame in range(num_frames)]
    return [min(place, 2 * room - place) for place in places]


def _through_jpeg(frame: np.ndarray) -> np.ndarray:
    buffer = io.BytesIO()
    Image.fromarray(frame).save(buffer, format="JPEG", quality=JPEG_QUALITY)
    with Image.open(buffer) as found:
        return np.array(found)
