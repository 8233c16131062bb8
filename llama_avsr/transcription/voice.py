"""Where somebody speaks: silero-vad, whose package brings its network along.

Letters: N samples of 16 kHz, T frames of 25 per second.
"""

from __future__ import annotations

import functools
import math
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import numpy as np
import torch

from datamodules.batch import SAMPLE_RATE_HZ, SAMPLES_PER_VIDEO_FRAME, VIDEO_FPS
from datamodules.media.spool import release
from llama_avsr.transcription.segments import Span

STEP_SAMPLES = 512
"""What the network takes at a time."""
RELEASED_STEPS = 1250
"""After so many, what was read of a long sound is given back."""
THRESHOLD = 0.5
"""Of the probability of speech, where it begins; it ends 0.15 below."""
MIN_SPEECH_SECONDS = 0.25
"""What is shorter is no speech."""
LATE_SECONDS = 0.1
"""The network notices so late that speech has ended."""
_lock = threading.Lock()


@functools.cache
def _package() -> ModuleType:
    threads = torch.get_num_threads()
    import silero_vad  # sets the whole process to one thread

    torch.set_num_threads(threads)
    return silero_vad


@functools.cache
def _network() -> Any:
    return _package().load_silero_vad()


@contextmanager
def _one_thread() -> Iterator[None]:
    """So small a network takes several times as long on more."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def probabilities(waveform: np.ndarray) -> list[float]:
    """Of speech, in each step: float32 [N] -> [ceil(N / 512)]."""
    found = []
    # The network remembers the steps before, and there is one for all threads.
    with _lock, torch.inference_mode(), _one_thread():
        network = _network()
        network.reset_states()
        for step in range(math.ceil(len(waveform) / STEP_SAMPLES)):
            sound = waveform[step * STEP_SAMPLES : (step + 1) * STEP_SAMPLES]
            padded = np.pad(np.asarray(sound, np.float32), (0, STEP_SAMPLES - len(sound)))
            found.append(float(network(torch.from_numpy(padded), SAMPLE_RATE_HZ)))
            if (step + 1) % RELEASED_STEPS == 0:
                release(waveform)
    release(waveform)
    return found


def speech_spans(waveform: np.ndarray, min_pause: int) -> list[Span]:
    """The stretches of speech between pauses of `min_pause` frames and more, in order and apart."""
    if not len(waveform):
        return []
    found = _package().get_speech_timestamps_from_probs(
        probabilities(waveform),
        sampling_rate=SAMPLE_RATE_HZ,
        threshold=THRESHOLD,
        min_speech_duration_ms=round(MIN_SPEECH_SECONDS * 1000),
        min_silence_duration_ms=round(min_pause / VIDEO_FPS * 1000),
        speech_pad_ms=0,
        audio_length_samples=len(waveform),
    )
    late = round(LATE_SECONDS * SAMPLE_RATE_HZ)
    return [
        (speech["start"] // SAMPLES_PER_VIDEO_FRAME, (speech["end"] - late) // SAMPLES_PER_VIDEO_FRAME + 1)
        for speech in found
    ]
