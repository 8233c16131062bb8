"""Where somebody speaks: silero-vad, whose package brings its network along.

Letters: N samples of 16 kHz, T frames of 25 per second.
"""

from __future__ import annotations

import functools
import math
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

import numpy as np
import torch

from datamodules.batch import SAMPLE_RATE_HZ, SAMPLES_PER_VIDEO_FRAME, VIDEO_FPS
from datamodules.media.spool import release

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


@dataclass(frozen=True)
class Listening:
    """What the network remembers of a sound that goes on."""

    state: torch.Tensor | None = None
    context: torch.Tensor | None = None
    rest: np.ndarray = field(default_factory=lambda: np.zeros(0, np.float32))
    """Samples that do not fill a step yet."""
    probability: float = 0.0
    """Of speech, in the last step."""


def listen(before: Listening, sound: np.ndarray) -> tuple[Listening, np.ndarray]:
    """The probability of speech in each frame of a sound that goes on: float32 [640 T] -> [T].

    Of the steps that end in a frame the most probable counts; where none does, the one before.
    """
    waiting = np.concatenate([before.rest, np.asarray(sound, np.float32)])
    steps = len(waiting) // STEP_SAMPLES
    state, context, found = before.state, before.context, []
    with _lock, torch.inference_mode(), _one_thread():
        network = _network()
        network.reset_states()
        if state is not None:
            network._state, network._context = state, context
            network._last_sr, network._last_batch_size = SAMPLE_RATE_HZ, 1
        for samples in waiting[: steps * STEP_SAMPLES].reshape(-1, STEP_SAMPLES):
            found.append(float(network(torch.from_numpy(samples.copy()), SAMPLE_RATE_HZ)))
        if steps:
            state, context = network._state, network._context
    ends = np.arange(1, steps + 1) * STEP_SAMPLES - len(before.rest) - 1
    probability, of_frames = before.probability, []
    for frame in range(len(sound) // SAMPLES_PER_VIDEO_FRAME):
        own = [p for p, end in zip(found, ends, strict=True) if end // SAMPLES_PER_VIDEO_FRAME == frame]
        of_frames.append(max(own, default=probability))
        probability = own[-1] if own else probability
    rest = waiting[steps * STEP_SAMPLES :]
    return Listening(state, context, rest, probability), np.array(of_frames)


def speech_spans(waveform: np.ndarray, min_pause: int) -> list[tuple[int, int]]:
    """Speech between pauses of `min_pause` frames and more: first frames, and those after the last."""
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
