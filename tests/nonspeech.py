"""Twenty sounds in which nobody speaks, made on the spot from a seed.

Letters: N samples of 16 kHz.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

RATE_HZ = 16000
LOUDNESS = 0.1
"""Root mean square."""
Make = Callable[[np.random.Generator, int], np.ndarray]
"""(random numbers, N) -> [N]"""


def sounds(seconds: float, seed: int = 0) -> dict[str, np.ndarray]:
    """All of them by name, float32 [N]."""
    count = round(seconds * RATE_HZ)
    made = {
        name: make(np.random.default_rng([seed, i]), count) for i, (name, make) in enumerate(KINDS.items())
    }
    return {name: waveform.astype(np.float32) for name, waveform in made.items()}


def _scaled(waveform: np.ndarray, loudness: float = LOUDNESS) -> np.ndarray:
    return (waveform * loudness / np.sqrt(np.mean(waveform**2))).clip(-1, 1)


def _noise(
    rng: np.random.Generator, count: int, slope: float, low: float = 20, high: float = 8000
) -> np.ndarray:
    """Amplitude falls with frequency ** slope; 0 is white."""
    hz = np.fft.rfftfreq(count, 1 / RATE_HZ)
    gain = np.where((hz >= low) & (hz <= high), np.maximum(hz, 1) ** -slope, 0)
    return np.fft.irfft(np.fft.rfft(rng.standard_normal(count)) * gain, count)


def _time(count: int) -> np.ndarray:
    return np.arange(count) / RATE_HZ


def _harmonics(count: int, hz: float, number: int) -> np.ndarray:
    time = _time(count)
    return sum(np.sin(2 * np.pi * hz * k * time + k) / k for k in range(1, number + 1))


def _placed(count: int, places: np.ndarray, make: Callable[[], np.ndarray]) -> np.ndarray:
    """A short sound at each of the places."""
    waveform = np.zeros(count)
    for place in places:
        sound = make()[: count - place]
        waveform[place : place + len(sound)] += sound
    return waveform


def _strokes(rng: np.random.Generator, count: int, per_second: float) -> np.ndarray:
    """Bursts of noise at random times."""

    def burst() -> np.ndarray:
        length = round(rng.uniform(0.004, 0.02) * RATE_HZ)
        return rng.uniform(0.3, 1) * rng.standard_normal(length) * np.exp(-4 * np.arange(length) / length)

    places = rng.integers(0, count, max(1, round(per_second * count / RATE_HZ)))
    return _placed(count, places, burst)


def _notes(rng: np.random.Generator, count: int, per_second: int, chord: bool) -> np.ndarray:
    """Plucked strings on the white keys."""
    scale = (261.6, 293.7, 329.6, 349.2, 392.0, 440.0, 493.9, 523.3)

    def sound() -> np.ndarray:
        key, time = rng.integers(len(scale)), _time(RATE_HZ)
        keys = [key, key + 2, key + 4] if chord else [key]
        return sum(
            np.sin(2 * np.pi * scale[k % 8] * h * time) / h**1.5 * np.exp(-1.5 * h * time)
            for k in keys
            for h in range(1, 7)
        )

    return _placed(count, np.arange(0, count, RATE_HZ // per_second), sound)


def _drums(rng: np.random.Generator, count: int) -> np.ndarray:
    time = _time(RATE_HZ // 5)
    kick = np.sin(2 * np.pi * (60 + 80 * np.exp(-30 * time)) * time) * np.exp(-15 * time)
    beat = iter(range(count))

    def sound() -> np.ndarray:
        snare = 0.4 * rng.standard_normal(len(time)) * np.exp(-25 * time)
        return snare if next(beat) % 2 else kick

    return _placed(count, np.arange(0, count, RATE_HZ // 4), sound)


def _sine(count: int, hz: np.ndarray | float) -> np.ndarray:
    """hz: may change, [N]."""
    return np.sin(2 * np.pi * np.cumsum(np.broadcast_to(hz, count)) / RATE_HZ)


def _swelling(count: int, hz: float, by: float) -> np.ndarray:
    return 1 + by * np.sin(2 * np.pi * hz * _time(count))


KINDS: dict[str, Make] = {
    "silence": lambda rng, n: np.zeros(n),
    "quiet room": lambda rng, n: 1e-4 * rng.standard_normal(n),
    "white noise": lambda rng, n: _scaled(rng.standard_normal(n)),
    "pink noise": lambda rng, n: _scaled(_noise(rng, n, 0.5)),
    "brown noise": lambda rng, n: _scaled(_noise(rng, n, 1)),
    "mains hum": lambda rng, n: _scaled(_harmonics(n, 50, 8)),
    "tone": lambda rng, n: _scaled(_sine(n, 440.0)),
    "beeps": lambda rng, n: _scaled(_sine(n, 1000.0) * (np.sin(2 * np.pi * _time(n)) > 0)),
    "sweep": lambda rng, n: _scaled(_sine(n, np.linspace(100, 3500, n))),
    "dial tone": lambda rng, n: _scaled(_sine(n, 350.0) + _sine(n, 440.0)),
    "siren": lambda rng, n: _scaled(_sine(n, 900 + 300 * np.sin(2 * np.pi * 0.4 * _time(n)))),
    "melody": lambda rng, n: _scaled(_notes(rng, n, 4, chord=False)),
    "chords": lambda rng, n: _scaled(_notes(rng, n, 2, chord=True)),
    "drums": lambda rng, n: _scaled(_drums(rng, n)),
    "clicks": lambda rng, n: _scaled(
        _placed(n, rng.integers(0, n, 3 * n // RATE_HZ), lambda: np.ones(3)), 0.02
    ),
    "rain": lambda rng, n: _scaled(_strokes(rng, n, 300)),
    "applause": lambda rng, n: _scaled(_strokes(rng, n, 80)),
    "typing": lambda rng, n: _scaled(_strokes(rng, n, 6), 0.05),
    "engine": lambda rng, n: _scaled(_harmonics(n, 70, 30) * _swelling(n, 17, 0.3)),
    "fan": lambda rng, n: _scaled(
        _scaled(_noise(rng, n, 0.7)) * _swelling(n, 5, 0.1) + 0.3 * _scaled(_harmonics(n, 120, 4))
    ),
}
