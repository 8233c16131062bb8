"""Comparing systems in pairs, on one test list under one or several conditions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np

from llama_avsr.evaluation.comparison import statistics
from llama_avsr.evaluation.comparison.pairing import Paired, pair
from llama_avsr.evaluation.comparison.statistics import Difference
from llama_avsr.evaluation.hypotheses import Texts
from llama_avsr.evaluation.metrics import COUNTED, Counted, aligned
from llama_avsr.evaluation.normalisation import Normalisation
from llama_avsr.evaluation.speakers import groups_of, note_on_few, speakers_of

LEVEL = 0.05
"""A p-value below it is taken for a difference."""


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """One system against another, under one condition."""

    condition: str
    """Empty where there is but one."""
    names: tuple[str, str]
    metric: Counted
    scores: tuple[float, float]
    by_clip: Difference
    by_speaker: Difference | None
    p_segments: float | None
    """Of the matched-pairs test; None for other metrics than WER."""
    p: float
    """The largest p-value of these tests, corrected for the number of comparisons."""
    num_comparisons: int = 1
    ids: Sequence[str]
    references: Sequence[str]
    texts: tuple[Sequence[str], Sequence[str]]
    """What the two wrote."""
    gains: np.ndarray
    """[N] errors that the second has less in each clip; of translations, n-grams that it has more."""

    @property
    def difference(self) -> float:
        return self.scores[1] - self.scores[0]

    @property
    def interval(self) -> Difference:
        """Over clips or speakers, the wider one."""
        both = [self.by_clip] if self.by_speaker is None else [self.by_clip, self.by_speaker]
        return max(both, key=lambda one: one.high - one.low)

    @property
    def is_claimed(self) -> bool:
        return self.p < LEVEL

    @property
    def better(self) -> int:
        """Which of the two has the better score, by chance or not."""
        return int((self.difference < 0) == self.metric.lower_is_better)

    @property
    def changed(self) -> list[int]:
        """Clips that the two wrote differently, those with the largest gain or loss first."""
        differ = [
            place for place, (a, b) in enumerate(zip(*self.texts, strict=True)) if a.split() != b.split()
        ]
        return sorted(differ, key=lambda place: -abs(self.gains[place]))

    def verdict(self) -> str:
        """`B is better than A by 0.60 points [0.20, 1.00], p = 0.003`"""
        p = "p < 0.001" if self.p < 0.001 else f"p = {self.p:.3f}"
        p += " corrected" if self.num_comparisons > 1 else ""
        low, high = self.interval.low, self.interval.high
        if not self.is_claimed:
            return (
                f"no difference can be claimed between {self.names[0]} and {self.names[1]}: "
                f"{self.difference:+.2f} {self.metric.unit} [{low:+.2f}, {high:+.2f}], {p}"
            )
        if self.difference < 0:
            low, high = -high, -low
        return (
            f"{self.names[self.better]} is better than {self.names[1 - self.better]} by "
            f"{abs(self.difference):.2f} {self.metric.unit} [{low:.2f}, {high:.2f}], {p}"
        )


def compare(
    tests: Mapping[str, Sequence[Texts]],
    names: Sequence[str],
    *,
    metric: str = "wer",
    normalisation: Normalisation,
    references: Texts | None = None,
    speaker_pattern: str | None = None,
    all_pairs: bool = False,
) -> tuple[list[Comparison], list[str]]:
    """Every system against the first, or each against each, under each condition; and notes on it.

    tests: condition -> what each system wrote. Raises ValueError for systems with other test lists.
    """
    found: list[Comparison] = []
    notes: list[str] = []
    pairs = (
        combinations(range(len(names)), 2) if all_pairs else ((0, other) for other in range(1, len(names)))
    )
    pairs = list(pairs)
    for condition, systems in tests.items():
        paired = pair(systems, references, normalisation.apply)
        speakers = speakers_of(paired.ids, speaker_pattern)
        notes += [*paired.notes, *note_on_few(speakers)]
        counts = [COUNTED[metric].counts(paired.references, texts) for texts in paired.hypotheses]
        found += [
            _compared(condition, names, two, COUNTED[metric], counts, groups_of(speakers), paired)
            for two in pairs
        ]
    if len(found) > 1:
        notes.append(f"the verdicts' p-values are corrected for {len(found)} comparisons (Holm)")
    corrected = statistics.holm([one.p for one in found])
    return [
        replace(one, p=p, num_comparisons=len(found)) for one, p in zip(found, corrected, strict=True)
    ], list(dict.fromkeys(notes))


def _compared(
    condition: str,
    names: Sequence[str],
    two: tuple[int, int],
    metric: Counted,
    counts: Sequence[np.ndarray],
    groups: Sequence[Sequence[int]] | None,
    paired: Paired,
) -> Comparison:
    first, second = (counts[one] for one in two)
    texts = (paired.hypotheses[two[0]], paired.hypotheses[two[1]])
    by_clip = statistics.paired_bootstrap(first, second, metric.scores)
    by_speaker = None if groups is None else statistics.paired_bootstrap(first, second, metric.scores, groups)
    is_wer = metric is COUNTED["wer"]
    p_segments = statistics.matched_pairs(_segments(paired.references, *texts)) if is_wer else None
    tests = (by_clip.p, None if by_speaker is None else by_speaker.p, p_segments)
    return Comparison(
        condition=condition,
        names=(names[two[0]], names[two[1]]),
        metric=metric,
        scores=(metric.of_all(first), metric.of_all(second)),
        by_clip=by_clip,
        by_speaker=by_speaker,
        p_segments=p_segments,
        p=max(p for p in tests if p is not None),
        ids=paired.ids,
        references=paired.references,
        texts=texts,
        gains=metric.gains(first, second),
    )


def _segments(references: Sequence[str], first: Sequence[str], second: Sequence[str]) -> np.ndarray:
    """Errors of both in each segment of all clips: [S, 2]."""
    found = [
        segment
        for reference, a, b in zip(references, first, second, strict=True)
        for segment in statistics.segments(aligned(reference, a), aligned(reference, b))
    ]
    return np.array(found, dtype=np.int64).reshape(-1, 2)
