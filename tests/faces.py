"""Faces made for the tests: landmarks of a mean face, and pictures and videos that go with them."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np

from preparation.faces.detectors import Face
from preparation.faces.mouth import KEY_POINTS, STABLE_INDICES, STABLE_POINTS

MOUTH_X, MOUTH_Y = 130.0, 157.0


def mean_face_68(mouth_opening: float = 0.0) -> np.ndarray:
    """float [68, 2] on a 256x256 picture; the middle of the mouth lies at (130, 157)."""
    points = np.full((68, 2), 128.0)
    angles = np.linspace(0, 2 * np.pi, 20, endpoint=False)
    lips = np.stack([np.cos(angles) * 20, np.sin(angles) * (6 + mouth_opening)], axis=1)
    points[48:68] = lips
    points[list(STABLE_INDICES)] = STABLE_POINTS
    free = [i for i in range(48, 68) if i not in STABLE_INDICES]
    missing = 20 * np.array([MOUTH_X, MOUTH_Y]) - points[[48, 54]].sum(axis=0)
    points[free] += (missing - points[free].sum(axis=0)) / len(free)
    points[61:64, 1] -= mouth_opening
    points[65:68, 1] += mouth_opening
    return points


def key_points() -> np.ndarray:
    return KEY_POINTS.copy()


def moved(
    points: np.ndarray, x: float = 0.0, y: float = 0.0, scale: float = 1.0, turn: float = 0.0
) -> np.ndarray:
    """Scaled and turned (radians) about the origin, then shifted."""
    cos, sin = np.cos(turn) * scale, np.sin(turn) * scale
    return points @ np.array([[cos, sin], [-sin, cos]]) + (x, y)


def face_at(x: float, y: float = 0.0, scale: float = 1.0, mouth_opening: float = 0.0) -> Face:
    return Face.of_points(moved(mean_face_68(mouth_opening), x, y, scale))


def smooth_picture(height: int = 256, width: int = 256) -> np.ndarray:
    """uint8 [H, W, 3] without edges, so that bilinear sampling loses little."""
    y, x = np.mgrid[:height, :width]
    values = 128 + 60 * np.sin(x / 17.0) + 60 * np.cos(y / 23.0)
    return np.repeat(values[..., None], 3, axis=2).clip(0, 255).astype(np.uint8)


def textured(num_frames: int, height: int = 240, width: int = 240, seed: int = 0) -> np.ndarray:
    """RGB frames uint8 [T, H, W, 3] of a coarse random picture that gets brighter and darker."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(30, 200, (height // 24 + 1, width // 24 + 1, 3)).repeat(24, 0).repeat(24, 1)
    picture = coarse[:height, :width]
    return np.stack([picture + brightness(t) for t in range(num_frames)]).astype(np.uint8)


def brightness(t: int) -> int:
    """What `textured` adds to its picture in frame `t`."""
    return abs((t + 20) % 40 - 20)


class FakeDetector:
    """Finds the faces it was told of, frame by frame."""

    def __init__(self, faces: list[list[Face]]) -> None:
        self._faces = faces
        self._shown = 0

    def begin(self, video: Path, rel_path: Path) -> None:
        self._shown = 0

    def detect(self, frames: np.ndarray) -> list[list[Face]]:
        found = self._faces[self._shown : self._shown + len(frames)]
        self._shown += len(frames)
        return found + [[]] * (len(frames) - len(found))

    def end(self) -> None:
        pass


def read_rgb(path: Path) -> np.ndarray:
    """All frames uint8 [T, H, W, 3], as ffmpeg gives them."""
    with av.open(str(path)) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])
