"""Tests of a difference between two systems on the same clips.

Letters: N clips, K counts of a clip, G groups (clips, or speakers), R redraws, S segments.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from llama_avsr.evaluation.metrics import NUM_RESAMPLES, Alignment
from llama_avsr.evaluation.metrics.bootstrap import grouped, middle_95_percent, sums_of_redraws

MIN_GOOD_WORDS = 2
"""Words in a row that both systems have right, and that part two segments; sclite's own number."""

Rates = Callable[[np.ndarray], np.ndarray]
"""Sums of counts [R, K] -> scores [R]."""


@dataclass(frozen=True)
class Difference:
    """95 % of a difference, and the chance of one as large where there is none."""

    low: float
    high: float
    p: float


def paired_bootstrap(
    first: np.ndarray,
    second: np.ndarray,
    rates: Rates,
    groups: Sequence[Sequence[int]] | None = None,
    num_resamples: int = NUM_RESAMPLES,
    seed: int = 0,
) -> Difference:
    """Of the score of `second` minus that of `first`, counts [N, K] each, over clips redrawn in pairs.

    groups: the clips of each speaker, which are drawn together.
    The p-value is two-sided: twice the share of redraws on the rarer side of no difference.
    """
    width = first.shape[1]
    counts = np.concatenate([first, second], axis=1)
    if groups is not None:
        counts = grouped(counts, groups)
    sums = sums_of_redraws(counts, num_resamples, seed)
    differences = rates(sums[:, width:]) - rates(sums[:, :width])
    differences = differences[np.isfinite(differences)]
    if not len(differences):
        return Difference(math.nan, math.nan, 1.0)
    rarer = int(min((differences <= 0).sum(), (differences >= 0).sum()))
    p = min(1.0, 2 * (rarer + 1) / (len(differences) + 1))
    num_differing = int((counts[:, :width] != counts[:, width:]).any(axis=1).sum())
    return Difference(*middle_95_percent(differences), max(p, by_luck(num_differing)))


def by_luck(num_differing: int) -> float:
    """The smallest two-sided p-value that so many differing units allow: all of them favour one side."""
    return min(1.0, 2.0 ** (1 - num_differing))


def matched_pairs(errors: np.ndarray) -> float:
    """p-value of the matched-pairs sentence-segment word error test (MAPSSWE; Gillick and Cox, 1989).

    errors: [S, 2] int64, of both systems in each segment. Two-sided, by the normal distribution as NIST does.
    """
    differences = errors[:, 0] - errors[:, 1]
    num_differing = np.count_nonzero(differences)
    if not num_differing:
        return 1.0
    deviation = differences.std(ddof=1) / math.sqrt(len(differences)) if len(differences) > 1 else 0.0
    p = math.erfc(abs(differences.mean()) / deviation / math.sqrt(2)) if deviation else 0.0
    return max(p, by_luck(num_differing))


def segments(first: Alignment, second: Alignment) -> list[tuple[int, int]]:
    """Errors of two systems in each segment of a clip: stretches with errors, between words both have right.

    >>> from llama_avsr.evaluation.metrics import aligned
    >>> parted = segments(aligned("a b c d e f", "a x c d e f"), aligned("a b c d e f", "a b c d e y"))
    >>> joined = segments(aligned("a b c d", "a x c d"), aligned("a b c d", "a b c y"))
    >>> parted, joined  # one good word does not part them
    ([(1, 0), (0, 1)], [(1, 1)])
    """
    found: list[tuple[int, int]] = []
    errors, num_good = (0, 0), 0
    for place, wrong in enumerate(zip(_errors_by_place(first), _errors_by_place(second), strict=True)):
        if any(wrong):
            if num_good >= MIN_GOOD_WORDS and any(errors):
                found.append(errors)
                errors = (0, 0)
            num_good = 0
            errors = (errors[0] + wrong[0], errors[1] + wrong[1])
        elif place % 2:
            num_good += 1
    return [*found, errors] if any(errors) else found


def _errors_by_place(alignment: Alignment) -> list[int]:
    """Errors in gap, word, gap, word, ..., gap of a reference. Gaps hold the insertions."""
    errors = [0]
    for _, _, kind in alignment:
        if kind == "I":
            errors[-1] += 1
        else:
            errors += [int(kind != ""), 0]
    return errors


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values corrected for their number, as Holm (1979) does: comparable with 0.05 each."""
    order = sorted(range(len(p_values)), key=lambda place: p_values[place])
    corrected, largest = [0.0] * len(p_values), 0.0
    for rank, place in enumerate(order):
        largest = max(largest, min(1.0, (len(order) - rank) * p_values[place]))
        corrected[place] = largest
    return corrected
