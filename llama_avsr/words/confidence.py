"""How probable it is that a word is right: Platt scaling of what decoding and alignment tell of it.

A logistic regression on a validation set's own hypotheses; so few numbers that little data fits them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher

FEATURES = ("lowest_log_probability", "mean_log_probability", "agreement", "alignment")
LEAST = -10.0
"""Logs below are taken for it: one absurd number must not decide."""
BINS = 10


@dataclass(frozen=True)
class Calibration:
    """Weights of the features, in their order, and what is added."""

    weights: tuple[float, ...]
    bias: float

    def __call__(self, features: Sequence[float]) -> float:
        """The probability that a word is right."""
        logit = self.bias + sum(w * value for w, value in zip(self.weights, features, strict=True))
        return 1 / (1 + math.exp(-max(-30.0, min(30.0, logit))))


def features(token_log_probs: Sequence[float], agreement: float, alignment: float) -> tuple[float, ...]:
    """Of one word. token_log_probs: of its tokens. agreement: from 0 to 1. alignment: `Placed.score`."""
    lowest, mean = min(token_log_probs), sum(token_log_probs) / len(token_log_probs)
    return tuple(max(LEAST, value) for value in (lowest, mean, math.log(max(agreement, 1e-9)), alignment))


def agreements(words: Sequence[str], others: Sequence[tuple[Sequence[str], float]]) -> list[float]:
    """For each word, the share of the hypotheses that have it there, weighted by their probability.

    others: all hypotheses, that of the words among them, as words and the log of their probability.
    """
    most = max(log_probability for _, log_probability in others)
    total, found = 0.0, [0.0] * len(words)
    for theirs, log_probability in others:
        weight = math.exp(log_probability - most)
        total += weight
        for start, _, length in SequenceMatcher(None, words, theirs, autojunk=False).get_matching_blocks():
            for index in range(start, start + length):
                found[index] += weight
    return [value / total for value in found]


def calibration_error(confidences: Sequence[float], right: Sequence[bool]) -> float:
    """The expected calibration error, from 0 to 1: in ten bins, by how much confidence and share differ."""
    bins: list[list[tuple[float, bool]]] = [[] for _ in range(BINS)]
    for confidence, is_right in zip(confidences, right, strict=True):
        bins[min(BINS - 1, int(confidence * BINS))].append((confidence, is_right))
    apart = sum(abs(sum(c for c, _ in one) - sum(r for _, r in one)) for one in bins)
    return apart / max(1, len(confidences))
