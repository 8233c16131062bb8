"""Sound of any rate to 16 kHz, block by block.

Letters: N samples.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import torch

from datamodules.batch import SAMPLE_RATE_HZ
from datamodules.media.opening import MediaError

MIN_RATE_HZ, MAX_RATE_HZ = 4000, 1_000_000
"""Old telephones and studios lie between; less is a header to make memory of a file of nothing."""
MAX_FILTER_SIZE = 4_000_000
"""Values; usual rates need under 300 000, but one without a common factor with 16 kHz needs gigabytes."""
BLOCK_SECONDS = 60
FILTER_WIDTH, ROLLOFF = 6, 0.99
"""torchaudio's own: zero crossings of the filter, and where it ends below half the rate."""


def check_rate(path: Path, rate_hz: int) -> None:
    """Raises MediaError for a rate that no recording has."""
    factors = math.gcd(rate_hz, SAMPLE_RATE_HZ) ** 2 or 1
    if not MIN_RATE_HZ <= rate_hz <= MAX_RATE_HZ or rate_hz * SAMPLE_RATE_HZ // factors > MAX_FILTER_SIZE:
        raise MediaError(f"{path}: found a sampling rate of {rate_hz} Hz, expected a usual one such as 48000")


class To16kHz:
    """Takes pieces of a waveform, gives them back at 16 kHz: together as long and alike as if resampled
    at once."""

    def __init__(self, path: Path, rate_hz: int) -> None:
        check_rate(path, rate_hz)
        self.rate_hz = rate_hz
        common = math.gcd(rate_hz, SAMPLE_RATE_HZ)
        self._old, self._new = rate_hz // common, SAMPLE_RATE_HZ // common
        reach = math.ceil(FILTER_WIDTH * self._old / (min(self._old, self._new) * ROLLOFF)) + self._old
        # Whole periods of the two rates: then every block meets the filter in the same phase.
        self._context = math.ceil(reach / self._old) * self._old
        self._block = math.ceil(BLOCK_SECONDS * rate_hz / self._old) * self._old
        self._before = 0
        """Samples of context that the waiting ones begin with."""
        self._waiting: list[np.ndarray] = []
        self._count = 0

    def __call__(self, waveform: np.ndarray) -> np.ndarray:
        """float32 [n] -> [m]; m may be 0."""
        if self._old == self._new:
            return waveform
        self._waiting.append(waveform)
        self._count += len(waveform)
        done = []
        while self._count >= self._before + self._block + self._context:
            done.append(self._take(self._block))
        return np.concatenate(done) if done else np.zeros(0, np.float32)

    def end(self) -> np.ndarray:
        """What is left."""
        if self._count == self._before:
            return np.zeros(0, np.float32)
        return self._take(None)

    def _take(self, length: int | None) -> np.ndarray:
        """The next `length` samples, resampled; None takes all."""
        from torchaudio.functional import resample

        waiting = np.concatenate(self._waiting)
        used = waiting if length is None else waiting[: self._before + length + self._context]
        # Imported where it is needed: the data of this family is at 16 kHz already.
        new = resample(torch.from_numpy(used), self.rate_hz, SAMPLE_RATE_HZ).numpy()
        start = self._before * self._new // self._old
        if length is None:
            self._waiting, self._count, self._before = [], 0, 0
            return new[start:]
        kept = max(0, self._before + length - self._context)
        rest = waiting[kept:]
        self._waiting, self._count = [rest], len(rest)
        found = new[start : start + length * self._new // self._old]
        self._before = self._before + length - kept
        return found
