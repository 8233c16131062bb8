"""Scores as functions of counts that add up over clips: all that a redrawn test set needs.

Letters: N clips, K counts, R redraws.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from llama_avsr.evaluation.metrics import bleu, wer


@dataclass(frozen=True)
class Counted:
    """A score that is computed from sums of counts."""

    title: str
    unit: str
    """Of a difference."""
    lower_is_better: bool
    counts: Callable[[Sequence[str], Sequence[str]], np.ndarray]
    """References, hypotheses -> [N, K] int64."""
    scores: Callable[[np.ndarray], np.ndarray]
    """[R, K] -> [R]; NaN where there is nothing to score."""
    gained: Callable[[np.ndarray], np.ndarray]
    """[N, K] -> [N] int64: what is good about a clip."""

    def gains(self, first: np.ndarray, second: np.ndarray) -> np.ndarray:
        """What the second gains over the first in each clip, counts [N, K] each: [N] errors less, or n-grams
        more."""
        return self.gained(second) - self.gained(first)

    def of_all(self, counts: np.ndarray) -> float:
        """The score of the whole set."""
        return float(self.scores(counts.sum(axis=0, keepdims=True))[0])


def error_rates(sums: np.ndarray) -> np.ndarray:
    """Percent, of [R, 2]: errors and reference units."""
    errors, lengths = sums.T.astype(np.float64)
    return np.divide(100 * errors, lengths, out=np.full(len(sums), np.nan), where=lengths > 0)


def _of(edits: Sequence[wer.Edits]) -> np.ndarray:
    return np.array([[one.errors, one.length] for one in edits], dtype=np.int64)


_BY_ERRORS = (error_rates, lambda counts: -counts[:, 0])
COUNTED: Mapping[str, Counted] = MappingProxyType(
    {
        "wer": Counted("WER", "points", True, lambda *texts: _of(wer.word_edits(*texts)), *_BY_ERRORS),
        "cer": Counted("CER", "points", True, lambda *texts: _of(wer.character_edits(*texts)), *_BY_ERRORS),
        "bleu": Counted("BLEU", "BLEU", False, bleu.clip_counts, bleu.scores_of_counts, bleu.matches),
    }
)
