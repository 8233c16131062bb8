"""Word error rates of parts of a test set: clips of one length, clips of one speaker."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from llama_avsr.evaluation.metrics import Edits, Result, bootstrap_interval

LENGTHS = ((0, 5), (6, 10), (11, 20), (21, None))
"""Words of the reference, both ends included."""


@dataclass(frozen=True, kw_only=True)
class Share:
    """Some of the clips."""

    name: str
    num_clips: int
    num_words: int
    num_errors: int
    wer: float
    """Percent."""
    interval_95: tuple[float, float]
    """Over clips."""


def by_length(result: Result) -> list[Share]:
    """Shares of the recognised clips by the number of words in the reference; those that have clips."""
    clips = [edits for edits in clip_edits(result) if edits is not None]
    found = []
    for low, high in LENGTHS:
        own = [edits for edits in clips if low <= edits.length and (high is None or edits.length <= high)]
        if own:
            found.append(_share(f"{low}+ words" if high is None else f"{low}-{high} words", own))
    return found


def by_speaker(result: Result, speakers: Sequence[str] | None) -> list[Share]:
    """Shares of the recognised clips by speaker, the worst first."""
    groups: dict[str, list[Edits]] = {}
    for speaker, edits in zip(speakers or (), clip_edits(result) if speakers else (), strict=True):
        if edits is not None:
            groups.setdefault(speaker, []).append(edits)
    return sorted((_share(name, own) for name, own in groups.items()), key=lambda share: -share.wer)


def clip_edits(result: Result) -> list[Edits | None]:
    """Word edits of each clip; None for clips that another metric judges."""
    columns = result.columns()
    names = ("substitutions", "deletions", "insertions", "words")
    if not set(names) <= columns.keys():
        return [None] * len(next(iter(columns.values())))
    rows = zip(*(columns[name] for name in names), strict=True)
    return [None if row[0] == "" else Edits(*row) for row in rows]


def _share(name: str, edits: Sequence[Edits]) -> Share:
    total = sum(edits, Edits())
    return Share(
        name=name,
        num_clips=len(edits),
        num_words=total.length,
        num_errors=total.errors,
        wer=total.rate_percent,
        interval_95=bootstrap_interval(edits, num_resamples=1000),
    )
