"""Filterbanks of a 10 s clip: ours against python_speech_features, in turn, in one run.

python -m benchmarks.filterbanks
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import numpy as np
import python_speech_features
import torch

from av_hubert.filterbanks import filterbanks

SECONDS, ROUNDS = 10, 200


def main() -> None:
    torch.set_num_threads(1)
    waveform = (0.1 * np.random.default_rng(0).normal(size=SECONDS * 16000)).astype(np.float32)
    tensor = torch.from_numpy(waveform)
    calls = {
        "python_speech_features": lambda: python_speech_features.logfbank(waveform),
        "av_hubert.filterbanks": lambda: filterbanks(tensor),
    }
    difference = np.abs(calls["python_speech_features"]() - filterbanks(tensor).numpy()).max()
    times = {name: [_milliseconds(call) for _ in range(ROUNDS)] for name, call in calls.items()}
    print(f"{SECONDS} s of sound, one thread, {ROUNDS} rounds; largest difference {difference:.1e}")
    for name, values in times.items():
        print(f"{name:24s} median {statistics.median(values):6.2f} ms, fastest {min(values):6.2f} ms")
    theirs, ours = (statistics.median(values) for values in times.values())
    print(f"{theirs / ours:.1f} times as fast")


def _milliseconds(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return 1e3 * (time.perf_counter() - start)


if __name__ == "__main__":
    main()
