"""From phones to the shape of a mouth over time.

Letters: K key points, T video frames, S shape parameters (the five of Shape).

How hard the lips are to read is chosen, not found: it is the four numbers of Difficulty.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from datamodules.batch import VIDEO_FPS
from llama_avsr.demo.corpus.phones import SILENCE, Phone


@dataclass(frozen=True, kw_only=True)
class Difficulty:
    """How much the lips hide. Clean lips are easier to read than speech is to hear, which is false."""

    merging: float = 0.5
    """0: every viseme keeps its own shape; 1: the visemes of a family look the same."""
    jitter: float = 0.12
    """Standard deviation of a phone's shape around its viseme, each parameter in [0, 1]."""
    smoothing_s: float = 0.035
    """Standard deviation of the Gaussian that blurs the shapes into each other, in seconds."""
    pixel_noise: float = 5.0
    """Standard deviation of the noise on every pixel, in grey levels."""


DIFFICULTY = Difficulty()


class Shape(NamedTuple):
    """A mouth's shape; every parameter from 0 to 1."""

    opening: float
    width: float
    rounding: float
    teeth: float
    tongue: float


VISEMES: dict[str, Shape] = {
    "rest": Shape(0.04, 0.50, 0.10, 0.00, 0.00),
    "bilabial": Shape(0.00, 0.45, 0.20, 0.00, 0.00),
    "labiodental": Shape(0.14, 0.50, 0.00, 0.90, 0.00),
    "dental": Shape(0.26, 0.55, 0.05, 0.50, 0.95),
    "alveolar": Shape(0.26, 0.55, 0.05, 0.60, 0.45),
    "lateral": Shape(0.38, 0.50, 0.05, 0.35, 0.80),
    "sibilant": Shape(0.18, 0.65, 0.00, 0.95, 0.10),
    "palatal": Shape(0.26, 0.30, 0.65, 0.80, 0.10),
    "rhotic": Shape(0.24, 0.30, 0.50, 0.35, 0.10),
    "velar": Shape(0.32, 0.50, 0.10, 0.30, 0.15),
    "spread": Shape(0.28, 0.95, 0.00, 0.60, 0.15),
    "half spread": Shape(0.36, 0.72, 0.00, 0.50, 0.15),
    "mid": Shape(0.52, 0.72, 0.00, 0.45, 0.20),
    "neutral": Shape(0.42, 0.48, 0.10, 0.30, 0.15),
    "wide": Shape(0.74, 0.74, 0.00, 0.40, 0.25),
    "open": Shape(0.92, 0.52, 0.10, 0.25, 0.25),
    "half round": Shape(0.62, 0.25, 0.60, 0.10, 0.10),
    "round": Shape(0.20, 0.08, 0.95, 0.00, 0.00),
}

FAMILIES: tuple[tuple[str, ...], ...] = (
    ("rest",),
    ("bilabial",),
    ("labiodental",),
    ("dental", "alveolar", "lateral", "sibilant", "velar"),
    ("palatal", "rhotic"),
    ("spread", "half spread", "mid"),
    ("neutral",),
    ("wide", "open"),
    ("half round", "round"),
)
"""Visemes that are easily taken for each other; see Difficulty.merging."""

PHONE_VISEMES: dict[str, tuple[str, ...]] = {
    SILENCE: ("rest",),
    **dict.fromkeys(("p", "b", "m"), ("bilabial",)),
    **dict.fromkeys(("f", "v"), ("labiodental",)),
    **dict.fromkeys(("th", "dh"), ("dental",)),
    **dict.fromkeys(("t", "d", "n"), ("alveolar",)),
    "l": ("lateral",),
    **dict.fromkeys(("s", "z"), ("sibilant",)),
    **dict.fromkeys(("sh", "zh", "ch", "jh"), ("palatal",)),
    "r": ("rhotic",),
    "w": ("round",),
    **dict.fromkeys(("k", "g", "ng", "hh"), ("velar",)),
    "y": ("half spread",),
    "iy": ("spread",),
    "ih": ("half spread",),
    "ia": ("spread", "neutral"),
    "eh": ("mid",),
    "ey": ("mid", "spread"),
    "ae": ("wide",),
    **dict.fromkeys(("aa", "oh"), ("open",)),
    "ay": ("open", "half spread"),
    "aw": ("open", "round"),
    **dict.fromkeys(("ah", "ax"), ("neutral",)),
    "er": ("neutral", "rhotic"),
    "ao": ("half round",),
    "ow": ("half round", "round"),
    "oy": ("half round", "half spread"),
    **dict.fromkeys(("uh", "uw"), ("round",)),
}
"""What each phone shows, in the order in which it shows it; diphthongs show two shapes."""

_STEP_S = 0.005
"""Resolution of a trajectory before it is sampled at the frame rate."""


def targets(merging: float) -> dict[str, np.ndarray]:
    """The shape [S] that each viseme aims at, `merging` of the way towards the mean of its family."""
    shapes = {name: np.asarray(shape, dtype=np.float32) for name, shape in VISEMES.items()}
    means = {name: np.mean([shapes[n] for n in family], axis=0) for family in FAMILIES for name in family}
    return {name: shape + merging * (means[name] - shape) for name, shape in shapes.items()}


def trajectory(
    phones: Sequence[Phone], num_frames: int, rng: np.random.Generator, difficulty: Difficulty = DIFFICULTY
) -> np.ndarray:
    """The mouth's shape in the middle of every video frame: [T, S] float32 in [0, 1].

    Raises ValueError for an empty list of phones or no frames.
    """
    if not phones or num_frames < 1:
        raise ValueError(f"found {len(phones)} phones and {num_frames} frames; expected one of each at least")
    times_s, shapes = _key_points(phones, targets(difficulty.merging))
    shapes = shapes + difficulty.jitter * rng.standard_normal(shapes.shape, dtype=np.float32)
    steps_s = np.arange(0, num_frames / VIDEO_FPS, _STEP_S) + _STEP_S / 2
    path = np.stack([np.interp(steps_s, times_s, parameter) for parameter in shapes.T])
    smooth = _smoothed(path, difficulty.smoothing_s)
    steps_per_frame = smooth.shape[1] / num_frames
    middles = ((np.arange(num_frames) + 0.5) * steps_per_frame).astype(np.int64)
    return smooth[:, middles].T.clip(0, 1).astype(np.float32)


def _key_points(phones: Sequence[Phone], shapes: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Times [K] in seconds and shapes [K, S]: each phone's visemes, evenly inside it."""
    times: list[float] = []
    values: list[np.ndarray] = []
    for phone in phones:
        visemes = PHONE_VISEMES[phone.label]
        width_s = (phone.end_s - phone.start_s) / len(visemes)
        for index, viseme in enumerate(visemes):
            times.append(phone.start_s + (index + 0.5) * width_s)
            values.append(shapes[viseme])
    return np.asarray(times), np.stack(values)


def _smoothed(path: np.ndarray, sigma_s: float) -> np.ndarray:
    """`path` [S, steps] convolved with a Gaussian along time; its ends are held."""
    if sigma_s <= 0:
        return path
    reach = int(np.ceil(3 * sigma_s / _STEP_S))
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) * _STEP_S / sigma_s) ** 2)
    kernel /= kernel.sum()
    held = np.pad(path, ((0, 0), (reach, reach)), mode="edge")
    return np.stack([np.convolve(parameter, kernel, mode="valid") for parameter in held])
