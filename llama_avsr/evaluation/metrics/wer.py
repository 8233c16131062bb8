"""Word and character error rates of a whole test set.

Words are what `str.split()` yields; nothing is lower-cased, stripped of punctuation or otherwise normalised.
Rates are micro-averaged (all errors over all reference words) and given in percent, as papers print them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import jiwer
import numpy as np

from llama_avsr.evaluation.metrics.bootstrap import NUM_RESAMPLES, Interval, middle_95_percent, redraws, wider
from llama_avsr.evaluation.metrics.result import Cell, check_pairs, hidden_notes
from llama_avsr.evaluation.speakers import groups_of, note_on_few

Alignment = list[tuple[str, str, str]]
"""Of each pair: reference word, hypothesis word, kind of error."""


@dataclass(frozen=True)
class Edits:
    """The cheapest way from one reference to its hypothesis."""

    substitutions: int = 0
    deletions: int = 0
    insertions: int = 0
    length: int = 0
    """Units (words or characters) of the reference."""

    @property
    def errors(self) -> int:
        return self.substitutions + self.deletions + self.insertions

    def __add__(self, other: Edits) -> Edits:
        return Edits(
            self.substitutions + other.substitutions,
            self.deletions + other.deletions,
            self.insertions + other.insertions,
            self.length + other.length,
        )

    @property
    def rate_percent(self) -> float:
        """Errors per hundred reference units; infinite for insertions into nothing."""
        if self.length:
            return 100 * self.errors / self.length
        return math.inf if self.errors else 0.0


CountWords = Callable[[Sequence[str], Sequence[str]], list[Edits]]
"""References and hypotheses -> word edits of each clip."""


@dataclass(frozen=True, kw_only=True)
class Scores:
    """Word error rate of a set of clips, and what it consists of."""

    metric: ClassVar[str] = "wer"
    words: Edits
    characters: Edits
    """Over characters of the words joined by single spaces."""
    interval: tuple[float, float]
    """95 % bootstrap interval of the WER, percent."""
    interval_over: str
    """"clips" or "speakers", whichever makes it wider."""
    cer_interval: tuple[float, float]
    """The same of the CER."""
    per_utterance: tuple[Edits, ...]
    """Word edits of every clip, in the order given."""
    notes: tuple[str, ...] = ()

    @property
    def wer(self) -> float:
        """Word error rate, percent."""
        return self.words.rate_percent

    @property
    def cer(self) -> float:
        """Character error rate, percent."""
        return self.characters.rate_percent

    @property
    def substitutions(self) -> int:
        return self.words.substitutions

    @property
    def deletions(self) -> int:
        return self.words.deletions

    @property
    def insertions(self) -> int:
        return self.words.insertions

    @property
    def num_words(self) -> int:
        """Reference words."""
        return self.words.length

    @property
    def value(self) -> float:
        return self.wer

    def headline(self) -> list[str]:
        low, high = self.interval
        return [
            f"WER     {self.wer:.2f} %   (95 % interval {low:.2f} to {high:.2f}{self._over})",
            f"errors  {self.words.errors} in {self.num_words} words: {self.substitutions} substituted, "
            f"{self.deletions} deleted, {self.insertions} inserted",
            f"CER     {self.cer:.2f} %   ({self.cer_interval[0]:.2f} to {self.cer_interval[1]:.2f})",
        ]

    @property
    def _over(self) -> str:
        return "" if self.interval_over == "clips" else f", over {self.interval_over}"

    def brief(self) -> str:
        low, high = self.interval
        return f"WER  {self.wer:6.2f} %  [{low:.2f}, {high:.2f}] of {len(self.per_utterance)} clips"

    def details(self) -> dict[str, object]:
        return {
            "unit": "percent",
            "wer": self.wer,
            "wer_interval_95": list(self.interval),
            "interval_over": self.interval_over,
            "cer": self.cer,
            "cer_interval_95": list(self.cer_interval),
            "substitutions": self.substitutions,
            "deletions": self.deletions,
            "insertions": self.insertions,
            "num_words": self.num_words,
        }

    def columns(self) -> dict[str, list[Cell]]:
        names = ("errors", "substitutions", "deletions", "insertions")
        columns = {name: [getattr(edits, name) for edits in self.per_utterance] for name in names}
        return {**columns, "words": [edits.length for edits in self.per_utterance]}

    def of_clip(self, index: int) -> str:
        counts = {name: values[index] for name, values in self.columns().items()}
        return ", ".join(f"{name} {count}" for name, count in counts.items() if count)

    def worst_first(self) -> list[int]:
        wrong = [index for index, edits in enumerate(self.per_utterance) if edits.errors]
        return sorted(wrong, key=lambda index: -self.per_utterance[index].errors)


class WordErrorRate:
    """The metric of recognition tasks."""

    name = "wer"
    lower_is_better = True

    def score(
        self, references: Sequence[str], hypotheses: Sequence[str], speakers: Sequence[str] | None = None
    ) -> Scores:
        return score(references, hypotheses, speakers)

    def sample_score(self, reference: str, hypothesis: str) -> dict[str, float]:
        return {"WER (%)": score([reference], [hypothesis], num_resamples=1).wer}


def score(
    references: Sequence[str],
    hypotheses: Sequence[str],
    speakers: Sequence[str] | None = None,
    *,
    num_resamples: int = NUM_RESAMPLES,
    seed: int = 0,
    count_words: CountWords | None = None,
) -> Scores:
    """Word and character error rates of a set of clips.

    count_words: finds the word edits of each clip; by default the fewest errors count.
    speakers: of each clip; where there are enough, intervals are over speakers too, and the wider one counts.
    An empty reference counts every word of its hypothesis as an insertion. The same input and seed give the
    same interval. ValueError: no clips, or not one hypothesis per reference.
    """
    check_pairs(references, hypotheses)
    words = (count_words or word_edits)(references, hypotheses)
    characters = character_edits(references, hypotheses)
    groups = groups_of(speakers)

    def interval(edits: Sequence[Edits]) -> Interval:
        by_clip = bootstrap_interval(edits, num_resamples=num_resamples, seed=seed)
        if groups is None:
            return wider(by_clip)
        of_speakers = [sum((edits[place] for place in group), Edits()) for group in groups]
        return wider(by_clip, bootstrap_interval(of_speakers, num_resamples=num_resamples, seed=seed))

    of_words = interval(words)
    return Scores(
        words=sum(words, Edits()),
        characters=sum(characters, Edits()),
        interval=of_words.ends,
        interval_over=of_words.over,
        cer_interval=interval(characters).ends,
        per_utterance=tuple(words),
        notes=(*_notes(references), *note_on_few(speakers)),
    )


def word_edits(references: Sequence[str], hypotheses: Sequence[str]) -> list[Edits]:
    """Of each clip."""
    return _edits(jiwer.process_words(_spaced(references), _spaced(hypotheses)))


def character_edits(references: Sequence[str], hypotheses: Sequence[str]) -> list[Edits]:
    """Of each clip, words joined by single spaces."""
    return _edits(jiwer.process_characters(_spaced(references), _spaced(hypotheses)))


def _spaced(texts: Sequence[str]) -> list[str]:
    return [" ".join(text.split()) for text in texts]


def bootstrap_interval(
    edits: Sequence[Edits], *, num_resamples: int = NUM_RESAMPLES, seed: int = 0
) -> tuple[float, float]:
    """95 % percentile interval of the error rate, percent, over clips redrawn with replacement."""
    errors = np.array([one.errors for one in edits])
    lengths = np.array([one.length for one in edits])
    if not lengths.any():
        rate = sum(edits, Edits()).rate_percent
        return rate, rate
    rates = []
    for drawn in redraws(len(edits), num_resamples, seed):
        drawn_lengths = lengths[drawn].sum(axis=1)
        # A redraw of empty references alone has no rate.
        valid = drawn_lengths > 0
        rates.append(100 * errors[drawn].sum(axis=1)[valid] / drawn_lengths[valid])
    return middle_95_percent(np.concatenate(rates))


def aligned(reference: str, hypothesis: str) -> Alignment:
    """(reference word, hypothesis word, kind) along the cheapest alignment.

    kind is "" (equal), "S", "D" (hypothesis word "") or "I" (reference word "").
    """
    output = jiwer.process_words(" ".join(reference.split()), " ".join(hypothesis.split()))
    kinds = {"equal": "", "substitute": "S", "delete": "D", "insert": "I"}
    pairs = []
    for chunk in output.alignments[0]:
        left = output.references[0][chunk.ref_start_idx : chunk.ref_end_idx]
        right = output.hypotheses[0][chunk.hyp_start_idx : chunk.hyp_end_idx]
        length = max(len(left), len(right))
        left, right = left + [""] * (length - len(left)), right + [""] * (length - len(right))
        pairs += [(a, b, kinds[chunk.type]) for a, b in zip(left, right, strict=True)]
    return pairs


def _edits(output: jiwer.WordOutput | jiwer.CharacterOutput) -> list[Edits]:
    """jiwer's alignments, counted clip by clip."""
    edits = []
    for reference, chunks in zip(output.references, output.alignments, strict=True):
        counts = {"equal": 0, "substitute": 0, "delete": 0, "insert": 0}
        for chunk in chunks:
            of_reference = chunk.ref_end_idx - chunk.ref_start_idx
            counts[chunk.type] += of_reference or chunk.hyp_end_idx - chunk.hyp_start_idx
        edits.append(Edits(counts["substitute"], counts["delete"], counts["insert"], len(reference)))
    return edits


def _notes(references: Sequence[str]) -> tuple[str, ...]:
    empty = sum(not reference.split() for reference in references)
    said = f"{empty} empty reference(s): every word of such a hypothesis counts as an insertion"
    return (*((said,) if empty else ()), *hidden_notes(references))
