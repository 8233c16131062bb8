"""How sure a corpus score is: the test set drawn again and again from itself."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

NUM_RESAMPLES = 10_000
_MAX_DRAWS_IN_MEMORY = 4_000_000


@dataclass(frozen=True)
class Interval:
    """95 % of a score, over redrawn clips or, where that is wider, redrawn speakers."""

    ends: tuple[float, float]
    over: Literal["clips", "speakers"] = "clips"


def wider(by_clip: tuple[float, float], by_speaker: tuple[float, float] | None = None) -> Interval:
    """by_speaker: where there are enough speakers."""
    if by_speaker is None or by_speaker[1] - by_speaker[0] <= by_clip[1] - by_clip[0]:
        return Interval(by_clip)
    return Interval(by_speaker, "speakers")


def redraws(num_clips: int, num_resamples: int, seed: int) -> Iterator[np.ndarray]:
    """`num_resamples` test sets of as many clips, drawn with replacement: [some of them, num_clips] indices.

    The same sets for the same seed, however many are in memory at a time.
    """
    rng = np.random.default_rng(seed)
    rows = max(1, _MAX_DRAWS_IN_MEMORY // num_clips)
    for start in range(0, num_resamples, rows):
        yield rng.integers(num_clips, size=(min(rows, num_resamples - start), num_clips))


def sums_of_redraws(values: np.ndarray, num_resamples: int, seed: int) -> np.ndarray:
    """Per redrawn test set, the sums over its clips of [num_clips, K] int64: [num_resamples, K]."""
    num_clips = len(values)
    sums = []
    for drawn in redraws(num_clips, num_resamples, seed):
        cells = drawn + num_clips * np.arange(len(drawn))[:, None]
        times_drawn = np.bincount(cells.ravel(), minlength=drawn.size).reshape(drawn.shape)
        # float64 multiplies faster and holds such integers exactly.
        sums.append(times_drawn.astype(np.float64) @ values.astype(np.float64))
    return np.concatenate(sums).astype(np.int64)


def grouped(values: np.ndarray, groups: Sequence[Sequence[int]]) -> np.ndarray:
    """Sums over the clips of each group: [num_clips, K] -> [num_groups, K]."""
    return np.stack([values[list(group)].sum(axis=0) for group in groups])


def middle_95_percent(scores: Sequence[float] | np.ndarray) -> tuple[float, float]:
    """The ends of a 95 % percentile interval."""
    low, high = np.percentile(scores, [2.5, 97.5])
    return float(low), float(high)
