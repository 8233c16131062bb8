"""A mouth for the demo: phones in, a grey mouth crop out.

Letters: T video frames, H and W height and width of the window that holds the mouth.

A mouth is four curves over the columns of the window (outer and inner edge of either lip) and bands between
them: skin, upper lip, teeth, dark, tongue, lower lip, skin. All frames of a clip are drawn at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from llama_avsr.demo.corpus.face import SIZE, Face, background
from llama_avsr.demo.corpus.phones import Phone
from llama_avsr.demo.corpus.speakers import Speaker
from llama_avsr.demo.corpus.visemes import DIFFICULTY, Difficulty, trajectory

# The window around the crop's centre that a mouth can reach, in pixels.
_WINDOW_TOP, _WINDOW_BOTTOM = 24, 88
_WINDOW_LEFT, _WINDOW_RIGHT = 12, 84

# A mean mouth at scale 1, in pixels.
_HALF_WIDTH = 22.0
_SPREAD = 6.0
_ROUND = 8.0
_GAPE = 28.0
_UPPER_LIP, _LOWER_LIP = 5.5, 7.5
_POUT = 2.0
_EDGE_SOFTNESS = 1.5

_DARK = 22.0
_UPPER_SHARE = 0.3
"""The part of an opening by which the upper lip rises; the jaw does the rest."""
_DRIFT = 0.6
"""Standard deviation of a clip's own shift of the mouth, and of its slow movement, in pixels."""


@dataclass(frozen=True)
class _Curves:
    """Edges of the lips [T, 1, W], in pixels from the top of the crop; column 0 is the window's left."""

    arch: np.ndarray
    """0 at the corners of the mouth and past them, 1 in the middle."""
    upper_outer: np.ndarray
    upper_inner: np.ndarray
    lower_inner: np.ndarray
    lower_outer: np.ndarray


def draw(
    phones: Sequence[Phone],
    num_frames: int,
    speaker: Speaker,
    seed: int,
    difficulty: Difficulty = DIFFICULTY,
) -> np.ndarray:
    """Draw the mouth of `speaker` saying `phones`: [num_frames, 96, 96] uint8, grey, 25 fps.

    A function of its arguments alone. Raises ValueError for no phones or no frames.
    """
    rng = np.random.default_rng([seed, speaker.face_seed])
    shapes = trajectory(phones, num_frames, rng, difficulty)
    face = Face.of(speaker)
    frames = np.empty((num_frames, SIZE, SIZE), dtype=np.float32)
    frames[:] = background(speaker)
    window = frames[:, _WINDOW_TOP:_WINDOW_BOTTOM, _WINDOW_LEFT:_WINDOW_RIGHT]
    curves = _curves(shapes, face, _drift(num_frames, rng))
    _paint(window, curves, shapes, face)
    if difficulty.pixel_noise > 0:
        frames += difficulty.pixel_noise * rng.standard_normal(frames.shape, dtype=np.float32)
    np.clip(frames, 0, 255, out=frames)
    return frames.astype(np.uint8)


def _drift(num_frames: int, rng: np.random.Generator) -> np.ndarray:
    """Where the head is: [T, 2] pixels right and down; a shift of the clip and a slow sway."""
    shift, sway, phase = rng.standard_normal((3, 2), dtype=np.float32)
    turns = np.arange(num_frames, dtype=np.float32)[:, None] / 50
    return _DRIFT * (shift + sway * np.sin(2 * np.pi * turns + phase))


def _curves(shapes: np.ndarray, face: Face, drift: np.ndarray) -> _Curves:
    opening, width, rounding = (shapes[:, index, None, None] for index in range(3))
    half_width = face.scale * (_HALF_WIDTH + _SPREAD * (2 * width - 1) - _ROUND * rounding)
    centre_x = SIZE / 2 + face.shift[0] + drift[:, 0, None, None]
    centre_y = SIZE / 2 + face.shift[1] + drift[:, 1, None, None]
    columns = np.arange(_WINDOW_LEFT, _WINDOW_RIGHT, dtype=np.float32)[None, None]
    across = (columns - centre_x) / half_width
    arch = (1 - across**2).clip(0, 1)
    gape = face.scale * face.liveliness * _GAPE * opening * arch ** (1 - 0.5 * rounding)
    seam = centre_y + face.tilt * (columns - centre_x)
    upper_inner = seam - _UPPER_SHARE * gape
    lower_inner = seam + (1 - _UPPER_SHARE) * gape
    # Lips get thinner as they stretch.
    fullness = face.scale * face.thickness * arch**0.7
    bow = face.bow * np.exp(-((across / 0.2) ** 2))
    upper = fullness * (_UPPER_LIP + _POUT * rounding - 1.5 * opening - bow)
    lower = fullness * (_LOWER_LIP + _POUT * rounding - 1.5 * opening)
    return _Curves(arch, upper_inner - upper, upper_inner, lower_inner, lower_inner + lower)


def _paint(window: np.ndarray, curves: _Curves, shapes: np.ndarray, face: Face) -> None:
    """Paint the mouth into `window` [T, H, W], back to front."""
    rows = np.arange(_WINDOW_TOP, _WINDOW_BOTTOM, dtype=np.float32)[None, :, None]
    teeth, tongue = (shapes[:, index, None, None] for index in (3, 4))
    brightness = face.skin / 255

    below_outer = _step(rows - curves.upper_outer)
    below_upper = _step(rows - curves.upper_inner)
    below_seam = _step(rows - curves.lower_inner)
    below_lower = _step(rows - curves.lower_outer)

    # The fold under the lower lip moves with the jaw.
    fold = (rows - curves.lower_outer - 4) / 3.5
    window *= 1 - 0.18 * curves.arch * (1 - np.minimum(np.abs(fold), 1))

    inner = curves.lower_inner - curves.upper_inner
    teeth_edge = curves.upper_inner + np.minimum(inner, face.scale * 6.5 * teeth)
    tongue_edge = curves.lower_inner - 0.55 * inner * tongue
    below_teeth = _step(rows - teeth_edge)
    below_tongue = _step(rows - tongue_edge)

    upper_lip = face.skin * face.lips * 0.9
    lower_lip = face.skin * face.lips
    tongue_grey = 40 + 75 * brightness
    # Each edge moves the brightness from the band above it to the band below.
    mouth = upper_lip + (face.teeth - upper_lip) * below_upper
    mouth += (_DARK - face.teeth) * below_teeth
    mouth += (tongue_grey - _DARK) * below_tongue
    mouth += (lower_lip - tongue_grey) * below_seam
    # Lips shade what lies between them: a dark line where they touch.
    mouth *= 1 - 0.5 * (1 - np.abs(rows - curves.upper_inner) / 1.5).clip(0, 1)
    window += (below_outer - below_lower) * (mouth - window)


def _step(distance: np.ndarray) -> np.ndarray:
    """0 above an edge, 1 below it, a ramp of _EDGE_SOFTNESS pixels between."""
    return (distance / _EDGE_SOFTNESS + 0.5).clip(0, 1)
