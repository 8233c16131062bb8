"""cpWER, the word error rate of recordings with several speakers (CHiME-6, Watanabe et al. 2020).

All that a speaker said is one text. References and hypotheses are paired, speaker by speaker, in the way that
has the fewest errors: what a system calls a speaker does not matter, but words under the wrong one are wrong.
A speaker who is left over counts as deleted, or inserted, altogether.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from scipy.optimize import linear_sum_assignment

from datamodules.files import write_whole
from llama_avsr.evaluation.meetings.files import Meetings
from llama_avsr.evaluation.metrics.bootstrap import NUM_RESAMPLES, middle_95_percent, sums_of_redraws
from llama_avsr.evaluation.metrics.counts import error_rates
from llama_avsr.evaluation.metrics.wer import Edits, word_edits
from llama_avsr.evaluation.report import finite, versions

SCORE_FILE = "score.json"
MIN_MEETINGS = 5
"""Fewer say nothing of how sure a score is."""


@dataclass(frozen=True)
class Pairing:
    """A speaker of the reference, and who that is in the hypothesis; None where there is nobody."""

    reference: str | None
    hypothesis: str | None
    edits: Edits


@dataclass(frozen=True)
class Meeting:
    """One recording, scored."""

    name: str
    pairings: Sequence[Pairing]

    @property
    def edits(self) -> Edits:
        return sum((pairing.edits for pairing in self.pairings), Edits())


@dataclass(frozen=True)
class Scored:
    """Several recordings."""

    source: str
    normalisation: str
    meetings: Sequence[Meeting]
    interval: tuple[float, float] | None
    """95 % of the rate, over redrawn meetings; None for fewer than five."""
    notes: Sequence[str]

    @property
    def edits(self) -> Edits:
        return sum((meeting.edits for meeting in self.meetings), Edits())


def paired(references: Mapping[str, str], hypotheses: Mapping[str, str]) -> list[Pairing]:
    """The pairing of speakers that has the fewest errors; each speaker is in one pair.

    references, hypotheses: speaker -> words.

    >>> for pairing in paired({"Ann": "good morning", "Bo": "hello"}, {"1": "hello", "2": "good mourning"}):
    ...     print(pairing.reference, pairing.hypothesis, pairing.edits.errors)
    Ann 2 1
    Bo 1 0
    """
    # As many rows and columns as speakers of both: everybody can be left over.
    said: list[tuple[str | None, str]] = [*references.items(), *[(None, "")] * len(hypotheses)]
    written: list[tuple[str | None, str]] = [*hypotheses.items(), *[(None, "")] * len(references)]
    edits = [[_edits(one[1], other[1]) for other in written] for one in said]
    errors = np.array([[cell.errors for cell in row] for row in edits]).reshape(len(said), len(written))
    chosen = zip(*linear_sum_assignment(errors), strict=True)
    return [
        Pairing(said[row][0], written[column][0], edits[row][column])
        for row, column in chosen
        if said[row][0] is not None or written[column][0] is not None
    ]


def scored(
    hypotheses: Meetings, references: Meetings, apply: Callable[[str], str] = str, normalisation: str = "none"
) -> Scored:
    """apply: what is done to all words before, called `normalisation`.

    Raises ValueError where the two hold other meetings, or there is no word to be recognised.
    """
    notes = _check(hypotheses, references)
    meetings = [
        Meeting(name, paired(_applied(apply, speakers), _applied(apply, hypotheses.said.get(name, {}))))
        for name, speakers in references.said.items()
    ]
    if not sum(meeting.edits.length for meeting in meetings):
        raise ValueError(f"{references.source}: found no words; expected references")
    return Scored(hypotheses.source, normalisation, meetings, _interval(meetings), notes)


def screen(found: Scored, num_shown: int = 10) -> str:
    total, pairs = found.edits, [pair for meeting in found.meetings for pair in meeting.pairings]
    sure = ""
    if found.interval is not None:
        low, high = found.interval
        sure = f"   (95 % interval {low:.2f} to {high:.2f}, over meetings)"
    lines = [
        f"{found.source}, {len(found.meetings)} meeting(s); normalisation: {found.normalisation}",
        f"  cpWER   {total.rate_percent:.2f} %{sure}",
        f"  errors  {total.errors} in {total.length} words: {total.substitutions} substituted, "
        f"{total.deletions} deleted, {total.insertions} inserted",
        f"  speakers {sum(p.reference is not None for p in pairs)} in the references, "
        f"{sum(p.hypothesis is not None for p in pairs)} in the hypotheses",
        *(f"  note    {note}" for note in found.notes),
    ]
    worst = sorted(found.meetings, key=lambda meeting: -meeting.edits.errors)
    for meeting in worst[:num_shown]:
        lines += ["", f"{meeting.name}  {meeting.edits.rate_percent:.2f} %"]
        lines += [
            f"  {pair.reference or '(nobody)'} as {pair.hypothesis or '(nobody)'}: "
            f"{pair.edits.errors} errors in {pair.edits.length} words"
            for pair in meeting.pairings
        ]
    left = len(worst) - num_shown
    return "\n".join([*lines, *([f"and {left} more"] if left > 0 else [])])


def write(folder: Path, found: Scored) -> None:
    """`score.json`, whole or not at all."""
    content = {
        "source": found.source,
        "metric": "cpwer",
        "normalisation": found.normalisation,
        "unit": "percent",
        "cpwer": found.edits.rate_percent,
        "cpwer_interval_95": found.interval,
        **asdict(found.edits),
        "meetings": [
            {
                "name": meeting.name,
                "cpwer": meeting.edits.rate_percent,
                **asdict(meeting.edits),
                "speakers": [asdict(pairing) for pairing in meeting.pairings],
            }
            for meeting in found.meetings
        ],
        "notes": list(found.notes),
        "versions": versions(),
    }
    text = json.dumps(finite(content), indent=2, ensure_ascii=False, allow_nan=False)
    write_whole(folder / SCORE_FILE, text + "\n")


def _edits(reference: str, hypothesis: str) -> Edits:
    (edits,) = word_edits([reference], [hypothesis])
    return edits


def _applied(apply: Callable[[str], str], speakers: Mapping[str, str]) -> dict[str, str]:
    return {speaker: apply(words) for speaker, words in speakers.items()}


def _check(hypotheses: Meetings, references: Meetings) -> list[str]:
    """Notes. Raises ValueError for other meetings."""
    more = [name for name in hypotheses.said if name not in references.said]
    missing = [name for name in references.said if name not in hypotheses.said]
    if more or (missing and not hypotheses.omits_silent):
        one, of, not_in = (more[0], hypotheses, references) if more else (missing[0], references, hypotheses)
        raise ValueError(
            f"the meeting {one} of {of.source} is not in {not_in.source}: expected the same meetings; they "
            "are called like the recording's file"
        )
    return [f"{len(missing)} meeting(s) without a word in {hypotheses.source}"] if missing else []


def _interval(meetings: Sequence[Meeting]) -> tuple[float, float] | None:
    if len(meetings) < MIN_MEETINGS:
        return None
    counts = np.array([[one.edits.errors, one.edits.length] for one in meetings], dtype=np.int64)
    rates = error_rates(sums_of_redraws(counts, NUM_RESAMPLES, seed=0))
    return middle_95_percent(rates[np.isfinite(rates)])
