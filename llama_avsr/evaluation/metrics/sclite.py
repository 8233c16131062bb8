"""Word errors as NIST's sclite counts them, which many published figures are.

sclite takes the cheapest alignment too, but weighs a substitution 4 and an insertion or a deletion 3, where
the word error rate's own counts are those of the fewest errors. Of alignments that cost the same it takes the
one that has, from the end of the texts, a pair of words before an insertion, and that before a deletion.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from llama_avsr.evaluation.metrics.wer import Edits

SUBSTITUTION, INSERTION, DELETION = 4, 3, 3


def sclite_edits(references: Sequence[str], hypotheses: Sequence[str]) -> list[Edits]:
    """Of each clip, as `sclite -s` counts them: case matters."""
    return [_edits(r.split(), h.split()) for r, h in zip(references, hypotheses, strict=True)]


def _edits(reference: list[str], hypothesis: list[str]) -> Edits:
    costs = _costs(reference, hypothesis)
    row, column = len(reference), len(hypothesis)
    counts = {"substitutions": 0, "deletions": 0, "insertions": 0}
    while row or column:
        cost = costs[row, column]
        pair = SUBSTITUTION * (reference[row - 1] != hypothesis[column - 1]) if row and column else None
        if pair is not None and cost == costs[row - 1, column - 1] + pair:
            counts["substitutions"] += pair > 0
            row, column = row - 1, column - 1
        elif column and cost == costs[row, column - 1] + INSERTION:
            counts["insertions"] += 1
            column -= 1
        else:
            counts["deletions"] += 1
            row -= 1
    return Edits(**counts, length=len(reference))


def _costs(reference: list[str], hypothesis: list[str]) -> np.ndarray:
    """[R + 1, H + 1]: of aligning the first r words of the one with the first h of the other."""
    costs = np.zeros((len(reference) + 1, len(hypothesis) + 1), dtype=np.int64)
    along = INSERTION * np.arange(len(hypothesis) + 1)
    costs[0] = along
    for row, word in enumerate(reference, 1):
        differs = np.array([word != other for other in hypothesis], dtype=np.int64)
        costs[row] = costs[row - 1] + DELETION
        np.minimum(costs[row, 1:], costs[row - 1, :-1] + SUBSTITUTION * differs, out=costs[row, 1:])
        # Insertions go on from the best place to their left.
        costs[row] = np.minimum.accumulate(costs[row] - along) + along
    return costs
