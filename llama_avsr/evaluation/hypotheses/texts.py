"""What a file of hypotheses holds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

Key = tuple[str, int]
"""A clip: its id, and the number of clips of that id before it. Some label files give ids to data sets."""


@dataclass(frozen=True, kw_only=True)
class Texts:
    """The clips of one decoding, in the order of their file."""

    source: str
    ids: Sequence[str]
    hypotheses: Sequence[str]
    references: Sequence[str] | None = None
    """None where the file holds none."""
    seconds: Sequence[float | None] = ()
    """Length of each clip, where the file says so."""
    omits_silent: bool = False
    """Whether a clip in which nothing was recognised is not in such a file."""

    def __post_init__(self) -> None:
        if not self.ids:
            raise ValueError(f"{self.source}: found no hypotheses; expected at least one")

    @property
    def keys(self) -> list[Key]:
        seen: Counter[str] = Counter()
        keys = []
        for one in self.ids:
            keys.append((one, seen[one]))
            seen[one] += 1
        return keys
