"""Speech for tests: a voice detector takes no noise for it."""

from __future__ import annotations

import functools

import numpy as np

from llama_avsr.demo.corpus.voice import LEAD_S, synthesise, training_speakers

RATE_HZ = 16000
SAID = "bin blue at f two now set white in x one please lay green with g seven soon place red by k four again"


@functools.cache
def _voice() -> np.ndarray:
    lead = round(LEAD_S * RATE_HZ)
    return synthesise(SAID, training_speakers()[0]).waveform[lead:-lead]


def spoken(seconds: float, start: float = 0.0) -> np.ndarray:
    """A voice without a pause, from `start` seconds of what it says on: float32 [N] of 16 kHz."""
    first, count = round(start * RATE_HZ), round(seconds * RATE_HZ)
    return np.take(_voice(), np.arange(first, first + count), mode="wrap")
