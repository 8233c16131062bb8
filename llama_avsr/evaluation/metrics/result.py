"""What a metric is, what it finds, and what all metrics say about their references."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

ZERO_WIDTH = ("\u200b", "\u200c", "\u200d", "\u2060", "\ufeff")

Cell = int | float | str
"""Of `hypotheses.csv`; "" where a column does not apply to a clip."""


class Result(Protocol):
    """What a metric found, as the report needs it."""

    metric: str
    """Name of the metric."""
    value: float
    """The number that papers print."""
    interval: tuple[float, float]
    """95 % bootstrap interval of `value`."""
    notes: tuple[str, ...]
    """What a reader of the number must know (empty references, ...)."""

    def headline(self) -> list[str]:
        """Lines for the screen, the most important first."""

    def brief(self) -> str:
        """Number, interval and the size of the set, in a line."""

    def details(self) -> dict[str, object]:
        """What goes into `summary.json`."""

    def columns(self) -> dict[str, list[Cell]]:
        """Per-clip columns for `hypotheses.csv`."""

    def of_clip(self, index: int) -> str:
        """What the screen says about one clip; may be empty."""

    def worst_first(self) -> list[int]:
        """Indices of the clips with errors, the worst first."""


class Metric(Protocol):
    """A way to compare hypotheses with references."""

    name: str
    lower_is_better: bool

    def score(
        self, references: Sequence[str], hypotheses: Sequence[str], speakers: Sequence[str] | None = None
    ) -> Result:
        """Compare one hypothesis per reference. speakers: of each clip, for intervals over them."""

    def sample_score(self, reference: str, hypothesis: str) -> dict[str, float]:
        """The figure of a single clip under its name, for tables of samples."""


def check_pairs(references: Sequence[str], hypotheses: Sequence[str]) -> None:
    """ValueError: no clips, or not one hypothesis per reference."""
    if len(references) != len(hypotheses) or not references:
        raise ValueError(
            f"found {len(references)} references and {len(hypotheses)} hypotheses; "
            "expected one hypothesis for each reference, and at least one"
        )


def hidden_notes(references: Sequence[str]) -> tuple[str, ...]:
    """Says how many references hold characters that nobody sees."""
    if hidden := sum(any(mark in reference for mark in ZERO_WIDTH) for reference in references):
        return (f"{hidden} reference(s) with zero-width characters, compared as they are",)
    return ()
