"""A recording's mouths on its time axis, and who finds them.

Letters: T frames of 25 per second.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from datamodules.media import load_video
from datamodules.transforms import CROP_SIDE
from llama_avsr.transcription.segments import Span

HOLD_FRAMES = 12
"""Where the mouth is lost for no longer, its last picture stands in: words need not end with a shot."""

Progress = Callable[[float], None]
"""Told the seconds of video that were dealt with since the last call."""


class Track(Protocol):
    """One speaker's mouth without interruption (`preparation.faces.crop.MouthTrack` is one)."""

    frames: np.ndarray
    """uint8 [T, H, W], grey at full range."""
    first: int
    """The video's frame that `frames[0]` comes from."""
    corners: np.ndarray
    """float [T, 4, 2]: the crop's corners in the picture as it is shown, clockwise."""
    seen: np.ndarray
    """bool [T]: whether the face was found; elsewhere its place is interpolated."""


@dataclass(frozen=True, eq=False)
class CroppedTrack:
    """A video that is a mouth crop already."""

    frames: np.ndarray
    first: int
    corners: np.ndarray
    seen: np.ndarray


@dataclass(frozen=True, eq=False)
class Mouths:
    """The mouth tracks of a recording, in order and apart."""

    tracks: Sequence[Track]
    num_frames: int
    """Of the video."""
    rejected: Sequence[str] = ()
    """Why parts of the video have none."""
    detecting_seconds: float = 0.0
    """Time that the face detector took."""

    @property
    def spans(self) -> list[Span]:
        return [(track.first, track.first + len(track.frames)) for track in self.tracks]

    def stretches(self, num_frames: int) -> list[Span]:
        """Where a picture of the mouth can be had in a recording of `num_frames`: the tracks, reaching over
        short gaps and a little further at their ends."""
        joined: list[Span] = []
        for start, stop in self.spans:
            start, stop = max(0, start - HOLD_FRAMES), min(num_frames, stop + HOLD_FRAMES)
            # Frames held from two sides meet in the middle.
            if joined and start <= joined[-1][1]:
                joined[-1] = joined[-1][0], stop
            else:
                joined.append((start, stop))
        return joined

    def cut(self, start: int, stop: int) -> np.ndarray:
        """uint8 [stop - start, H, W]; where the mouth is lost, the nearest picture of it."""
        places = np.arange(start, stop)
        nearest, distance = np.zeros(len(places), dtype=int), np.full(len(places), np.inf)
        for index, (first, end) in enumerate(self.spans):
            away = np.maximum(first - places, places - (end - 1)).clip(min=0)
            nearest[away < distance] = index
            distance = np.minimum(distance, away)
        return np.stack([self._picture(int(t), self.tracks[i]) for t, i in zip(places, nearest, strict=True)])

    @staticmethod
    def _picture(t: int, track: Track) -> np.ndarray:
        return track.frames[min(max(t - track.first, 0), len(track.frames) - 1)]


class MouthReader(Protocol):
    """Finds the mouths of a video."""

    def __call__(self, path: Path, progress: Progress) -> Mouths:
        """Raises MediaError where the video cannot be read. No track is no error."""


class CroppedReader:
    """Reads videos that are mouth crops."""

    def __call__(self, path: Path, progress: Progress = lambda seconds: None) -> Mouths:
        frames = load_video(path).numpy()
        height, width = frames.shape[1:]
        left, top = (width - CROP_SIDE) / 2, (height - CROP_SIDE) / 2
        box = [(left, top), (left + CROP_SIDE, top), (left + CROP_SIDE, top + CROP_SIDE)]
        corners = np.tile(np.array([*box, (left, top + CROP_SIDE)]), (len(frames), 1, 1))
        return Mouths([CroppedTrack(frames, 0, corners, np.ones(len(frames), dtype=bool))], len(frames))


@dataclass(frozen=True)
class FaceSettings:
    """Whose face, and who finds it (`preparation.faces.detectors`)."""

    speaker: str | int = "largest"
    detector: str = "blazeface"
    detector_model: Path | None = None
    landmarks: Path | None = None


class FaceReader:
    """Finds faces and cuts their mouths out; keeps its detector for the next video."""

    def __init__(self, settings: FaceSettings) -> None:
        self.settings = settings
        self._detector: _Timed | None = None

    def __call__(self, path: Path, progress: Progress = lambda seconds: None) -> Mouths:
        # Only whoever looks for faces needs the detector's libraries.
        from preparation.faces import crop, detectors
        from preparation.faces.options import CropOptions

        settings = self.settings
        if self._detector is None:
            options = detectors.DetectorOptions(
                settings.detector, settings.detector_model, settings.landmarks
            )
            self._detector = _Timed(detectors.build(options))
        self._detector.seconds = 0.0
        whose = CropOptions(speaker=settings.speaker)
        found = crop.cut_mouths(path, self._detector, whose, progress=progress)
        return Mouths(found.tracks, found.num_frames, tuple(found.rejected), self._detector.seconds)


class _Timed:
    """A detector that says how long it took."""

    def __init__(self, detector: object) -> None:
        self._detector = detector
        self.seconds = 0.0

    def begin(self, video: Path, rel_path: Path) -> None:
        self._detector.begin(video, rel_path)

    def detect(self, frames: np.ndarray) -> list[list[object]]:
        start = time.perf_counter()
        try:
            return self._detector.detect(frames)
        finally:
            self.seconds += time.perf_counter() - start

    def end(self) -> None:
        self._detector.end()
