"""Speech for the demo: a sentence and a speaker become a waveform and the times of its phones."""

from __future__ import annotations

import functools
import zlib
from dataclasses import dataclass

import numpy as np
import torch
from torchaudio.transforms import Resample

from datamodules.batch import SAMPLE_RATE_HZ
from llama_avsr.demo.corpus import espeak
from llama_avsr.demo.corpus.phones import PHONES, SILENCE, Phone, from_espeak
from llama_avsr.demo.corpus.speakers import Speaker, pretraining_speakers, training_speakers, unseen_speakers

__all__ = [
    "PHONES",
    "Phone",
    "Speaker",
    "Speech",
    "pretraining_speakers",
    "synthesise",
    "training_speakers",
    "unseen_speakers",
]

LEAD_S = 0.06
"""Silence before the first phone and after the last: lips begin and end at rest."""
ROOM_NOISE = 3e-4
"""Standard deviation of the noise floor (-70 dB): digital silence has no logarithm."""

# Alone it is a letter of the grammar; espeak would read the article.
_PRONOUNCED = {"a": "[['eI]]"}


@dataclass(frozen=True)
class Speech:
    """A spoken sentence."""

    waveform: np.ndarray
    """[N] float32 at 16 kHz, within [-1, 1]."""
    phones: list[Phone]
    """In order, without gaps, from 0 to N / 16000 seconds."""
    words: list[tuple[float, float]]
    """Start and end of each word in seconds: of its first and its last phone."""


def synthesise(text: str, speaker: Speaker) -> Speech:
    """Speak `text` with the voice of `speaker`; a pure function of both.

    Raises ModuleNotFoundError where espeakng-loader is missing, ValueError for an empty text or a voice that
    espeak-ng does not have.
    """
    if not text.strip():
        raise ValueError("found an empty sentence to speak; expected words")
    spelled = " ".join(_PRONOUNCED.get(word, word) for word in text.split())
    spoken = espeak.speak(spelled, f"{speaker.accent}+{speaker.variant}", speaker.pitch, speaker.rate)
    seed = zlib.crc32(f"{speaker.name} {text}".encode())
    waveform = _at_16_khz(spoken.samples, spoken.sample_rate_hz, seed)
    phones = _phones(spoken, len(waveform) / SAMPLE_RATE_HZ)
    begun = [LEAD_S + sample / spoken.sample_rate_hz for sample in spoken.words]
    return Speech(waveform, phones, _words(phones, begun))


@functools.cache
def _resampler(sample_rate_hz: int) -> Resample:
    return Resample(sample_rate_hz, SAMPLE_RATE_HZ)


def _at_16_khz(samples: np.ndarray, sample_rate_hz: int, seed: int) -> np.ndarray:
    scaled = torch.from_numpy(samples.astype(np.float32) / 32768)
    speech = _resampler(sample_rate_hz)(scaled).numpy()
    lead = round(LEAD_S * SAMPLE_RATE_HZ)
    noise = np.random.default_rng(seed).standard_normal(len(speech) + 2 * lead, dtype=np.float32)
    waveform = ROOM_NOISE * noise
    waveform[lead : lead + len(speech)] += speech
    return waveform.clip(-1, 1)


def _phones(spoken: espeak.Utterance, duration_s: float) -> list[Phone]:
    starts = [(SILENCE, 0.0)]
    for mnemonic, sample in spoken.phonemes:
        label = from_espeak(mnemonic)
        if not (label == SILENCE == starts[-1][0]):
            starts.append((label, LEAD_S + sample / spoken.sample_rate_hz))
    if starts[-1][0] != SILENCE:
        starts.append((SILENCE, duration_s - LEAD_S))
    ends = [start for _, start in starts[1:]] + [duration_s]
    return [Phone(label, start, end) for (label, start), end in zip(starts, ends, strict=True) if end > start]


def _words(phones: list[Phone], begun: list[float]) -> list[tuple[float, float]]:
    """begun: when each word begins, which may be in the silence before its first phone."""
    spoken = [phone for phone in phones if phone.label != SILENCE]
    ends = [*begun[1:], float("inf")]
    times = []
    for start, end in zip(begun, ends, strict=True):
        own = [phone for phone in spoken if start <= phone.start_s < end]
        times.append((own[0].start_s, own[-1].end_s))
    return times
