"""Frames of two encoders joined into one stream, before they are compressed (MMS-LLaMA's early fusion).

Letters: B clips, T video frames (25 Hz), A and V widths of the two encoders.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from datamodules.batch import VIDEO_FPS, Padded


class Fusion(nn.Module):
    """[sound, lips], frame by frame: a convolution brings the sound to the video's rate.

    step: frames of sound to a frame of video. A clip is as long as the shorter of the two; where the batch
    lacks one of them, zeros stand for it.
    """

    def __init__(self, sound_dim: int, lips_dim: int, step: int) -> None:
        super().__init__()
        self.dims = (sound_dim, lips_dim)
        self.step = step
        self.slow_down = nn.Conv1d(sound_dim, sound_dim, step, stride=step) if step > 1 else nn.Identity()

    @classmethod
    def of(cls, encoders: Sequence[nn.Module]) -> Fusion:
        """encoders: the one that hears, the one that sees. Raises ValueError for frame rates that do not
        fit."""
        sound, lips = encoders
        step = sound.frame_rate_hz / VIDEO_FPS
        if lips.frame_rate_hz != VIDEO_FPS or step != int(step):
            raise ValueError(
                f"--task fused joins frames at 25 Hz with sound at 25 Hz or a multiple; these encoders make "
                f"{sound.frame_rate_hz:g} frames of sound a second and {lips.frame_rate_hz:g} of video"
            )
        return cls(sound.dim, lips.dim, int(step))

    def forward(self, sound: Padded | None, lips: Padded | None) -> Padded:
        """sound: [B, step * T, A], lips: [B, T, V], either may be None. Returns [B, T, A + V]."""
        parts = [None if sound is None else self._slowed(sound), lips]
        present = [part for part in parts if part is not None]
        lengths = torch.stack([part.lengths for part in present]).amin(0)
        longest = int(lengths.max())
        like = present[0].values[:, :longest]
        values = [
            like.new_zeros(*like.shape[:2], dim) if part is None else part.values[:, :longest].to(like.dtype)
            for part, dim in zip(parts, self.dims, strict=True)
        ]
        return Padded(torch.cat(values, dim=2), lengths)

    def _slowed(self, sound: Padded) -> Padded:
        values = sound.zeroed().values.transpose(1, 2)
        # A convolution takes no less than its kernel.
        values = functional.pad(values, (0, max(0, self.step - values.shape[2])))
        return Padded(self._convolved(values).transpose(1, 2), sound.lengths // self.step)

    def _convolved(self, values: Tensor) -> Tensor:
        weight = next(self.slow_down.parameters(), values)
        return self.slow_down(values.to(weight.dtype))
