"""BLEU and chrF of translations, by sacrebleu with its defaults.

13a tokens, mixed case, exponential smoothing, one reference; nothing is normalised before. Corpus BLEU is not
the mean of the clips' own: n-grams are counted over the whole set.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from sacrebleu.metrics.bleu import BLEU, BLEUScore
from sacrebleu.metrics.chrf import CHRF

from llama_avsr.evaluation.metrics.bootstrap import (
    NUM_RESAMPLES,
    grouped,
    middle_95_percent,
    sums_of_redraws,
    wider,
)
from llama_avsr.evaluation.metrics.result import Cell, check_pairs, hidden_notes
from llama_avsr.evaluation.speakers import groups_of, note_on_few

_SMOOTHING = "exp"


@dataclass(frozen=True)
class ClipBleu:
    """One clip's share."""

    score: float
    """sacrebleu's sentence BLEU: n-grams longer than the clip are left out."""
    hypothesis_tokens: int
    reference_tokens: int

    @property
    def is_wrong(self) -> bool:
        """Whether anything differs. Two empty texts do not, although their BLEU is 0."""
        return bool(self.hypothesis_tokens or self.reference_tokens) and round(self.score, 6) < 100


@dataclass(frozen=True, kw_only=True)
class BleuScores:
    """Corpus BLEU of a set of clips, and what it consists of."""

    metric: ClassVar[str] = "bleu"
    bleu: float
    """0 to 100."""
    precisions: tuple[float, ...]
    """Of 1- to 4-grams, percent, smoothed."""
    brevity_penalty: float
    hypothesis_tokens: int
    reference_tokens: int
    signature: str
    """sacrebleu's account of how it was computed."""
    interval: tuple[float, float]
    """95 % bootstrap interval of the corpus BLEU."""
    interval_over: str
    """"clips" or "speakers", whichever makes it wider."""
    chrf: float
    """chrF of character 6-grams, 0 to 100."""
    chrf_signature: str
    per_utterance: tuple[ClipBleu, ...]
    """In the order given."""
    notes: tuple[str, ...] = ()

    @property
    def value(self) -> float:
        return self.bleu

    def headline(self) -> list[str]:
        low, high = self.interval
        over = "" if self.interval_over == "clips" else f", over {self.interval_over}"
        precisions = " / ".join(f"{precision:.1f}" for precision in self.precisions)
        return [
            f"BLEU    {self.bleu:.2f}   (95 % interval {low:.2f} to {high:.2f}{over})",
            f"chrF    {self.chrf:.2f}   ({self.chrf_signature})",
            f"n-grams {precisions} %, brevity penalty {self.brevity_penalty:.3f} "
            f"({self.hypothesis_tokens} tokens for {self.reference_tokens})",
            f"scorer  sacrebleu {self.signature}",
        ]

    def brief(self) -> str:
        low, high = self.interval
        return f"BLEU {self.bleu:6.2f}    [{low:.2f}, {high:.2f}] of {len(self.per_utterance)} clips"

    def details(self) -> dict[str, object]:
        return {
            "bleu": self.bleu,
            "bleu_interval_95": list(self.interval),
            "interval_over": self.interval_over,
            "chrf": self.chrf,
            "chrf_signature": self.chrf_signature,
            "precisions": list(self.precisions),
            "brevity_penalty": self.brevity_penalty,
            "hypothesis_tokens": self.hypothesis_tokens,
            "reference_tokens": self.reference_tokens,
            "signature": self.signature,
        }

    def columns(self) -> dict[str, list[Cell]]:
        return {
            "sentence_bleu": [round(clip.score, 2) for clip in self.per_utterance],
            "hypothesis_tokens": [clip.hypothesis_tokens for clip in self.per_utterance],
            "reference_tokens": [clip.reference_tokens for clip in self.per_utterance],
        }

    def of_clip(self, index: int) -> str:
        clip = self.per_utterance[index]
        return f"sentence BLEU {clip.score:.1f}, {clip.hypothesis_tokens} tokens for {clip.reference_tokens}"

    def worst_first(self) -> list[int]:
        """Lowest sentence BLEU first; among equals, the clip with most tokens."""
        clips = self.per_utterance
        wrong = [index for index, clip in enumerate(clips) if clip.is_wrong]
        return sorted(wrong, key=lambda i: (round(clips[i].score, 6), -clips[i].reference_tokens))


class Bleu:
    """The metric of translations."""

    name = "bleu"
    lower_is_better = False

    def score(
        self, references: Sequence[str], hypotheses: Sequence[str], speakers: Sequence[str] | None = None
    ) -> BleuScores:
        return bleu_score(references, hypotheses, speakers)

    def sample_score(self, reference: str, hypothesis: str) -> dict[str, float]:
        return {"sentence BLEU": _sentence_scores([reference], [hypothesis])[0].score}


def bleu_score(
    references: Sequence[str],
    hypotheses: Sequence[str],
    speakers: Sequence[str] | None = None,
    *,
    num_resamples: int = NUM_RESAMPLES,
    seed: int = 0,
) -> BleuScores:
    """Corpus BLEU of a set of clips.

    speakers: of each clip; where there are enough, the interval is over them too, and the wider one counts.
    An empty reference matches nothing: every token of its hypothesis counts as wrong. The same input and seed
    give the same interval. ValueError: no clips, or not one hypothesis per reference.
    """
    check_pairs(references, hypotheses)
    corpus = BLEU(smooth_method=_SMOOTHING)
    found = corpus.corpus_score(list(hypotheses), [list(references)])
    sentences = _sentence_scores(references, hypotheses)
    counts, groups = _counts(sentences), groups_of(speakers)
    by_clip = _interval(counts, num_resamples, seed) or (found.score, found.score)
    by_speaker = None if groups is None else _interval(grouped(counts, groups), num_resamples, seed)
    interval = wider(by_clip, by_speaker)
    chrf = CHRF()
    return BleuScores(
        bleu=found.score,
        precisions=tuple(found.precisions),
        brevity_penalty=found.bp,
        hypothesis_tokens=found.sys_len,
        reference_tokens=found.ref_len,
        signature=str(corpus.get_signature()),
        interval=interval.ends,
        interval_over=interval.over,
        chrf=chrf.corpus_score(list(hypotheses), [list(references)]).score,
        chrf_signature=str(chrf.get_signature()),
        per_utterance=tuple(ClipBleu(one.score, one.sys_len, one.ref_len) for one in sentences),
        notes=(*_empty_notes(sentences), *hidden_notes(references), *note_on_few(speakers)),
    )


def _sentence_scores(references: Sequence[str], hypotheses: Sequence[str]) -> list[BLEUScore]:
    sentence = BLEU(smooth_method=_SMOOTHING, effective_order=True)
    return [
        sentence.sentence_score(hypothesis, [reference])
        for reference, hypothesis in zip(references, hypotheses, strict=True)
    ]


def clip_counts(references: Sequence[str], hypotheses: Sequence[str]) -> np.ndarray:
    """What corpus BLEU is computed from, of each clip: [N, K] int64."""
    return _counts(_sentence_scores(references, hypotheses))


def scores_of_counts(sums: np.ndarray) -> np.ndarray:
    """Corpus BLEU of each row of sums over clips: [R, K] -> [R]; NaN where nobody said or wrote anything."""
    order = (sums.shape[1] - 2) // 2
    return np.array(
        [
            BLEU.compute_bleu(row[2 : 2 + order], row[2 + order :], row[0], row[1], _SMOOTHING).score
            if row[0] or row[1]
            else np.nan
            for row in sums.tolist()
        ]
    )


def matches(counts: np.ndarray) -> np.ndarray:
    """n-grams that each clip shares with its reference: [N, K] -> [N]."""
    return counts[:, 2 : 2 + (counts.shape[1] - 2) // 2].sum(axis=1)


def _counts(sentences: Sequence[BLEUScore]) -> np.ndarray:
    return np.array([[one.sys_len, one.ref_len, *one.counts, *one.totals] for one in sentences])


def _interval(counts: np.ndarray, num_resamples: int, seed: int) -> tuple[float, float] | None:
    """95 % percentile interval of the corpus BLEU; None where nobody said or wrote anything."""
    scores = scores_of_counts(sums_of_redraws(counts, num_resamples, seed))
    scores = scores[~np.isnan(scores)]
    return middle_95_percent(scores) if len(scores) else None


def _empty_notes(sentences: Sequence[BLEUScore]) -> list[str]:
    empty = [one for one in sentences if not one.ref_len]
    if not empty:
        return []
    tokens = sum(one.sys_len for one in empty)
    effect = "so are the hypotheses"
    if tokens:
        effect = f"the {tokens} token(s) of such hypotheses count as wrong"
    notes = [f"{len(empty)} empty reference(s): {effect}"]
    if len(empty) == len(sentences):
        notes.append("no reference holds a word: BLEU is 0 whatever the hypotheses are")
    return notes
