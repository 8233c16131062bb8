"""How good hypotheses are: error rates of recognition, BLEU of translation, and what a metric is.

Nothing is lower-cased, stripped of punctuation or otherwise normalised. Corpus scores, not means over clips.
"""

from __future__ import annotations

from llama_avsr.evaluation.metrics.bleu import Bleu, BleuScores, bleu_score
from llama_avsr.evaluation.metrics.bootstrap import NUM_RESAMPLES
from llama_avsr.evaluation.metrics.by_direction import (
    METRICS,
    Direction,
    ScoresByDirection,
    metric,
    score_by_direction,
)
from llama_avsr.evaluation.metrics.counts import COUNTED, Counted
from llama_avsr.evaluation.metrics.result import ZERO_WIDTH, Metric, Result
from llama_avsr.evaluation.metrics.wer import (
    Alignment,
    Edits,
    Scores,
    WordErrorRate,
    aligned,
    bootstrap_interval,
    score,
)

__all__ = [
    "COUNTED",
    "METRICS",
    "NUM_RESAMPLES",
    "ZERO_WIDTH",
    "Alignment",
    "Bleu",
    "BleuScores",
    "Counted",
    "Direction",
    "Edits",
    "Metric",
    "Result",
    "Scores",
    "ScoresByDirection",
    "WordErrorRate",
    "aligned",
    "bleu_score",
    "bootstrap_interval",
    "metric",
    "score",
    "score_by_direction",
]
