"""Visual units: features of AV-HuBERT, k-means, run lengths.

`extract` writes features of one AV-HuBERT layer, `fit` finds k-means centroids of a share of them,
`apply` writes each clip's units (SPLIT.km) and the lengths of their runs (SPLIT.cluster_counts).
`convert` turns other people's centroids (.joblib) into a file without code. See docs/units.md.
"""

from __future__ import annotations

from collections.abc import Sequence

from llama_avsr.commands._dispatch import dispatch


def main(argv: Sequence[str], called: str | None = None) -> int:
    """Run one step; returns its exit status."""
    return dispatch(__name__, argv, called)
