"""Every word with its delays, one JSON object a line, and what they come to.

Drift is how much later words are fixed at the end of a recording than at its beginning.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from llama_avsr.live.state import LiveWord

MIN_WORDS_FOR_DRIFT = 20


@dataclass(frozen=True)
class Delays:
    """Of many words, in seconds."""

    count: int
    median_s: float
    p95_s: float
    longest_s: float
    drift_s_per_min: float | None
    """Slope of a straight line through the delays over time; None for fewer than 20 words."""

    @classmethod
    def of(cls, times_s: Sequence[float], delays_s: Sequence[float]) -> Delays | None:
        """times_s: when each word was said. None without words."""
        if not delays_s:
            return None
        slope = None
        if len(delays_s) >= MIN_WORDS_FOR_DRIFT and np.ptp(times_s) > 0:
            slope = float(np.polyfit(times_s, delays_s, 1)[0]) * 60
        return cls(
            count=len(delays_s),
            median_s=float(np.median(delays_s)),
            p95_s=float(np.percentile(delays_s, 95)),
            longest_s=float(np.max(delays_s)),
            drift_s_per_min=slope,
        )

    def as_json(self) -> dict[str, Any]:
        return {name: value if value is None else round(value, 3) for name, value in vars(self).items()}


def line(word: LiveWord) -> str:
    """A word of the log; its `delay_s` runs from what had been heard when it was first written."""
    return json.dumps(
        {
            "word": word.text,
            "segment": word.segment,
            "probability": round(word.probability, 4),
            "heard_s": round(word.heard_s, 3),
            "partial_s": round(word.partial_s, 3),
            "fixed_s": round(word.fixed_s, 3),
            "delay_s": round(word.fixed_s - word.heard_s, 3),
        },
        ensure_ascii=False,
    )


def summary(words: Sequence[LiveWord], seconds: float, passes: int) -> str:
    """The log's last line. seconds: length of the recording."""
    heard = [word.heard_s for word in words]
    shown = Delays.of(heard, [word.partial_s - word.heard_s for word in words])
    fixed = Delays.of(heard, [word.fixed_s - word.heard_s for word in words])
    content = {
        "words": len(words),
        "seconds": round(seconds, 3),
        "passes": passes,
        "partial": shown and shown.as_json(),
        "fixed": fixed and fixed.as_json(),
    }
    return json.dumps({"summary": content})
