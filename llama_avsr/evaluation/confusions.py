"""Which words are taken for which, and whether they look alike on the lips."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from llama_avsr.evaluation.metrics import aligned

Lips = Callable[[str], tuple[str, ...]]
"""A word -> what the lips show of it, shape by shape."""


@dataclass(frozen=True, kw_only=True)
class Confusions:
    """Word errors of a test set."""

    substitutions: Counter[tuple[str, str]]
    """(said, written) -> how often."""
    deletions: Counter[str]
    insertions: Counter[str]
    alike: frozenset[tuple[str, str]] = frozenset()
    """Substitutions of words that look the same on the lips."""
    share_alike: float | None = None
    """Of all substitutions, percent; None where nobody looked."""
    share_by_chance: float | None = None
    """The same if each word were replaced by any of the words that were written wrongly."""


def confusions(references: Sequence[str], hypotheses: Sequence[str], lips: Lips | None = None) -> Confusions:
    """Count them along the cheapest alignments."""
    substitutions: Counter[tuple[str, str]] = Counter()
    deletions: Counter[str] = Counter()
    insertions: Counter[str] = Counter()
    for reference, hypothesis in zip(references, hypotheses, strict=True):
        for said, written, kind in aligned(reference, hypothesis):
            if kind == "S":
                substitutions[said, written] += 1
            elif kind == "D":
                deletions[said] += 1
            elif kind == "I":
                insertions[written] += 1
    found = {"substitutions": substitutions, "deletions": deletions, "insertions": insertions}
    if lips is None or not substitutions:
        return Confusions(**found)
    shapes = {word: lips(word) for word in dict.fromkeys(word for pair in substitutions for word in pair)}
    alike = frozenset(pair for pair in substitutions if shapes[pair[0]] == shapes[pair[1]])
    said, written = Counter(), Counter()
    for pair, count in substitutions.items():
        said[shapes[pair[0]]] += count
        written[shapes[pair[1]]] += count
    total = substitutions.total()
    return Confusions(
        **found,
        alike=alike,
        share_alike=100 * sum(substitutions[pair] for pair in alike) / total,
        share_by_chance=100 * sum(count * written[shape] for shape, count in said.items()) / total**2,
    )
