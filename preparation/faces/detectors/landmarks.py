"""Landmarks that another program has found, read from files: 68 points or 4 key points, one face a frame."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from preparation.faces.detectors import Face
from preparation.faces.detectors._landmark_files import SUFFIXES, LandmarkError, read

LENGTH_TOLERANCE = 2
"""Frames by which landmarks and video may differ: decoders drop or repeat a frame at the ends."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """Face detector: landmarks"""

    landmarks: Path | None = None
    """With --detector landmarks: folder of landmark files (.npz, .npy, .json or .pkl), one for each video and
    of its name. Default: beside the videos."""


def build(landmarks: Path | None = None) -> LandmarkFiles:
    """Files of the videos' names in the folder `landmarks`, or beside the videos."""
    if landmarks is not None and not landmarks.exists():
        raise ValueError(f"{landmarks}: no such file or folder; expected landmarks")
    return LandmarkFiles(landmarks)


def tiny(video: Path, num_frames: int) -> dict[str, object]:
    """For the contract tests: four key points that stand still, in a file beside the video."""
    points = np.array([[80.0, 50.0], [100.0, 50.0], [90.0, 60.0], [90.0, 75.0]])
    np.save(video.with_suffix(".npy"), np.tile(points, (num_frames, 1, 1)))
    return {}


class LandmarkFiles:
    """Reads a video's landmarks from the file of its name; `_landmark_files.read` says what is understood."""

    def __init__(self, place: Path | None) -> None:
        self._place = place

    def begin(self, video: Path, rel_path: Path) -> None:
        self._path = self._find(video, rel_path)
        self._landmarks = read(self._path)
        self._shown = 0

    def detect(self, frames: np.ndarray) -> list[list[Face]]:
        wanted = range(self._shown, self._shown + len(frames))
        self._shown += len(frames)
        known = (self._landmarks[t] if t < len(self._landmarks) else None for t in wanted)
        return [[] if points is None else [Face.of_points(points)] for points in known]

    def end(self) -> None:
        if abs(len(self._landmarks) - self._shown) > LENGTH_TOLERANCE:
            raise LandmarkError(
                f"{self._path}: found landmarks of {len(self._landmarks)} frames, expected them of each of "
                f"the video's {self._shown} frames at 25 per second"
            )

    def _find(self, video: Path, rel_path: Path) -> Path:
        if self._place is not None and self._place.is_file():
            return self._place
        stem = (video if self._place is None else self._place / rel_path).with_suffix("")
        for suffix in SUFFIXES:
            path = stem.with_name(stem.name + suffix)
            if path.is_file():
                return path
        raise LandmarkError(
            f"{video}: expected landmarks at {stem}.npz (or {', '.join(SUFFIXES[1:])}), found none"
        )
