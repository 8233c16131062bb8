"""Reading the mouths of a video: from a crop, or by finding faces first.

Light to import: a detector's libraries are loaded with it.
Letters: T frames of 25 per second, H and W pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

import numpy as np

from datamodules.batch import VIDEO_FPS
from datamodules.media.pictures import mouth_frames
from datamodules.media.spool import FramesOnDisk, Spool
from datamodules.transforms import CROP_SIDE
from preparation.faces.detectors import DetectorOptions
from preparation.faces.options import CropOptions

Progress = Callable[[float], None]
"""Told the seconds of video that were dealt with since the last call."""


class Track(Protocol):
    """One speaker's mouth without interruption (`preparation.faces.crop.MouthTrack` is one)."""

    frames: np.ndarray | FramesOnDisk
    """uint8 [T, H, W], grey at full range."""
    first: int
    """The video's frame that `frames[0]` comes from."""
    corners: np.ndarray
    """float [T, 4, 2]: the crop's corners in the picture as it is shown, clockwise."""
    seen: np.ndarray
    """bool [T]: whether the face was found; elsewhere its place is interpolated."""


@dataclass(frozen=True)
class Found:
    """The mouths of one video."""

    tracks: Sequence[Track]
    """In order; no two share a frame, unless all speakers were asked for."""
    num_frames: int
    """Of the video."""
    rejected: Sequence[str] = ()
    """Why parts of the video have none."""
    detecting_seconds: float = 0.0
    """Time that the face detector took."""


@dataclass(frozen=True)
class Task:
    """One video."""

    path: Path
    rel_path: Path | None = None
    """Below the folder that is worked through; landmarks are found by it."""
    whole: bool = False
    """One track, whatever happens in it."""
    notes: list[str] | None = None
    """What was gone over while reading is told there; without it a video that is cut off is an error."""
    progress: Progress = field(default=lambda seconds: None)


class MouthReader(Protocol):
    """Used for one video after the other, in a process of its own."""

    def read(self, task: Task) -> Found:
        """Raises MediaError where the video cannot be read. No track is no error."""
        ...


@dataclass(frozen=True, eq=False)
class CroppedTrack:
    """A video that is a mouth crop already."""

    frames: np.ndarray | FramesOnDisk
    first: int
    corners: np.ndarray
    seen: np.ndarray


class CroppedReader:
    """Reads videos that show nothing but mouths."""

    def read(self, task: Task) -> Found:
        spool = Spool()
        for frame in mouth_frames(task.path, strict=task.notes is None, notes=task.notes):
            spool.add(frame[None])
            task.progress(1 / VIDEO_FPS)
        height, width = frame.shape
        left, top = (width - CROP_SIDE) / 2, (height - CROP_SIDE) / 2
        right, bottom = left + CROP_SIDE, top + CROP_SIDE
        box = np.array([(left, top), (right, top), (right, bottom), (left, bottom)])
        frames = spool.frames(0, spool.length)
        corners = np.broadcast_to(box, (spool.length, 4, 2))
        track = CroppedTrack(frames, 0, corners, np.ones(spool.length, dtype=bool))
        return Found([track], spool.length)


class FaceReader:
    """Finds faces and cuts their mouths out; keeps its detector for the next video.

    Raises ValueError, or ImportError, for a detector that is not there or lacks something.
    """

    def __init__(self, detector: DetectorOptions, options: CropOptions) -> None:
        from preparation.faces import crop, detectors

        self._detector = detectors.build(detector)
        self._cut_mouths = crop.cut_mouths
        self._options = options

    def read(self, task: Task) -> Found:
        """Raises ValueError where the video's landmarks cannot be used."""
        options = replace(self._options, whole=self._options.whole or task.whole)
        found = self._cut_mouths(
            task.path, self._detector, options, task.rel_path, task.progress, notes=task.notes
        )
        return Found(found.tracks, found.num_frames, tuple(found.rejected), found.detecting_seconds)
