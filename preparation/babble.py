"""Babble: several people of a data set who talk at once, to train and test with as noise."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from datamodules.batch import SAMPLE_RATE_HZ, Utterance
from datamodules.media import load_audio
from datamodules.media.writing import write_waveform

LEVEL = 0.05
"""Root mean square of what is written; mixing scales it to the ratio asked for."""
SILENT = 1e-4
"""Root mean square below which a clip says nothing."""


def write_babble(
    utterances: Sequence[Utterance], path: Path, *, voices: int, seconds: float, seed: int
) -> None:
    """Write `seconds` of `voices` streams of clips, each clip as loud as any other.

    The clips are drawn in a random order, each once before one comes again.
    Raises:
        ValueError: no clip has sound.
    """
    clips = _clips(utterances, random.Random(seed))
    length = round(seconds * SAMPLE_RATE_HZ)
    mixed = np.zeros(length, dtype=np.float32)
    for _ in range(voices):
        start = 0
        while start < length:
            clip = next(clips)[: length - start]
            mixed[start : start + len(clip)] += clip
            start += len(clip)
    write_waveform(path, mixed * LEVEL / np.sqrt(np.mean(np.square(mixed, dtype=np.float64))))


def _clips(utterances: Sequence[Utterance], draw: random.Random) -> Iterator[np.ndarray]:
    """Without end; of energy 1 a sample."""
    while True:
        heard = 0
        for utterance in draw.sample(utterances, len(utterances)):
            waveform = load_audio(utterance.audio_path, utterance.video_path, utterance.num_frames).numpy()
            loudness = np.sqrt(np.mean(np.square(waveform, dtype=np.float64))) if len(waveform) else 0.0
            if loudness > SILENT:
                heard += 1
                yield waveform / loudness
        if not heard:
            raise ValueError(f"expected clips with sound for babble, found {len(utterances)} silent ones")
