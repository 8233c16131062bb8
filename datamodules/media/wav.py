"""16-bit PCM wav, read without ffmpeg: what most training sets hold.

Letters: N samples, C channels.
"""

from __future__ import annotations

import wave
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from datamodules.media.packed import Packed, num_bytes, readable

UNKNOWN_BYTES = 0x7FFF0000
"""Writers that do not know the length beforehand (pipes) claim this much or more."""
BLOCK_SAMPLES = 2**20
MAX_CHANNELS = 64


@dataclass(frozen=True)
class WavHeader:
    """What a wav claims."""

    num_channels: int
    sample_bytes: int
    rate_hz: int
    num_samples: int

    @property
    def num_bytes(self) -> int:
        return self.num_samples * self.num_channels * self.sample_bytes


def read_header(path: Path | Packed) -> WavHeader | None:
    """None for what is no plain PCM wav, or does not know its own length: ffmpeg's work."""
    if path.suffix.lower() != ".wav":
        return None
    try:
        with wave.open(readable(path), "rb") as file:
            header = WavHeader(*file.getparams()[:4])
    except (wave.Error, EOFError, RuntimeError):  # the last where a chunk claims to reach past the end
        return None
    # Pipes, and recorders that were killed, leave a length of zero, or the largest there is.
    known = 0 < header.num_bytes < UNKNOWN_BYTES
    return header if known and header.rate_hz and header.num_channels <= MAX_CHANNELS else None


def blocks(path: Path | Packed) -> Iterator[np.ndarray]:
    """int16 [C, n] each; fewer samples than the header claims where the file ends early."""
    with wave.open(readable(path), "rb") as file:
        num_channels = file.getnchannels()
        # Not more at a time than there is: a buffer for what is claimed would be made first.
        there = num_bytes(path) // (2 * num_channels)
        while data := file.readframes(min(BLOCK_SAMPLES // num_channels, there) + 1):
            samples = np.frombuffer(data[: len(data) // (2 * num_channels) * 2 * num_channels], dtype="<i2")
            yield samples.reshape(-1, num_channels).T
