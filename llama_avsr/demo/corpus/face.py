"""A speaker's face around the mouth: what stays the same from clip to clip."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np

from llama_avsr.demo.corpus.speakers import Speaker

SIZE = 96
"""Height and width of a mouth crop, in pixels."""


@dataclass(frozen=True, kw_only=True)
class Face:
    """Lengths in pixels of the crop, brightness in grey levels of 255."""

    skin: float
    lips: float
    """Brightness of the lips, relative to the skin."""
    teeth: float
    scale: float
    """Size of the mouth, relative to the mean."""
    thickness: float
    """Of the lips, relative to the mean."""
    bow: float
    """Depth of the dip in the middle of the upper lip."""
    shift: tuple[float, float]
    """Of the mouth's centre, right and down, from the crop's centre."""
    tilt: float
    """Slope of the mouth: pixels down for every pixel to the right."""
    light: tuple[float, float]
    """Relative change of brightness from left to right and from top to bottom."""
    beard: float
    """Darkness of a beard, 0 (none) to 1."""
    liveliness: float
    """How far the mouth opens, relative to the mean."""

    @classmethod
    def of(cls, speaker: Speaker) -> Face:
        """The face that belongs to `speaker.face_seed`."""
        rng = np.random.default_rng(speaker.face_seed)

        def between(low: float, high: float) -> float:
            return float(rng.uniform(low, high))

        skin = between(85, 205)
        return cls(
            skin=skin,
            lips=between(0.62, 0.84),
            teeth=min(skin * 1.1 + 45, 235),
            scale=between(0.85, 1.15),
            thickness=between(0.75, 1.3),
            bow=between(0.5, 2.5),
            shift=(between(-4, 4), between(-4, 4)),
            tilt=between(-0.08, 0.08),
            light=(between(-0.25, 0.25), between(-0.15, 0.15)),
            beard=max(0.0, between(-0.9, 0.45)),
            liveliness=between(0.85, 1.15),
        )


@functools.lru_cache(maxsize=256)
def background(speaker: Speaker) -> np.ndarray:
    """The crop without a mouth: [SIZE, SIZE] float32, grey levels. Shared: do not write into it."""
    face = Face.of(speaker)
    rng = np.random.default_rng([speaker.face_seed, 1])
    y, x = np.mgrid[:SIZE, :SIZE].astype(np.float32) / (SIZE - 1) - 0.5
    cheeks = 1 - 0.5 * x**2 - 0.15 * (y + 0.1) ** 2
    light = 1 + face.light[0] * x + face.light[1] * y
    nose = 1 - 0.35 * np.exp(-((x / 0.17) ** 2) - ((y + 0.5) / 0.1) ** 2)
    chin = 1 - 0.45 / (1 + np.exp(-(y - 0.42 + 0.35 * x**2) / 0.025))
    mouth_distance = np.hypot(x / 0.42, (y - 0.12) / 0.38)
    stubble = 1 + 0.25 * _grain(rng, SIZE)
    beard = 1 - face.beard * stubble / (1 + np.exp((mouth_distance - 1) / 0.12))
    texture = 1 + 0.03 * _grain(rng, 12)
    return (face.skin * cheeks * light * nose * chin * beard * texture).clip(0, 255).astype(np.float32)


def _grain(rng: np.random.Generator, cells: int) -> np.ndarray:
    """Noise [SIZE, SIZE] of standard deviation near 1, in `cells` by `cells` squares, smooth between them."""
    coarse = rng.standard_normal((cells, cells))
    at = np.linspace(0, cells - 1, SIZE)
    rows = np.stack([np.interp(at, np.arange(cells), column) for column in coarse.T], axis=1)
    return np.stack([np.interp(at, np.arange(cells), row) for row in rows])
