"""Face detectors, one file each; the file's name is the detector's.

A module of this folder offers

    build(**own options) -> Detector
    tiny(video, num_frames) -> dict    own options with which the contract tests find a face in each frame of
                                       `video`; where it needs files, it writes them beside the video
    Options                            where it has options of its own: a plain dataclass that declares them

and imports nothing heavy before `build`.

Letters: T frames, H and W pixels, P landmarks of a face (68, or 4 key points).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np

from datamodules import registry
from preparation.faces.options import DEFAULT_DETECTOR


@dataclass(frozen=True, eq=False)
class Face:
    """One face in one picture; coordinates are pixels (x to the right, y down)."""

    box: np.ndarray
    """float [4]: left, top, right, bottom."""
    points: np.ndarray
    """float [P, 2]: the usual 68 landmarks, or right eye, left eye (of the person), nose, mouth."""
    score: float = 1.0
    """How sure the detector is, 0 to 1."""

    @classmethod
    def of_points(cls, points: np.ndarray, score: float = 1.0) -> Face:
        """A face whose box is the extent of its landmarks [P, 2]."""
        return cls(np.concatenate([points.min(axis=0), points.max(axis=0)]), points, score)

    @property
    def centre(self) -> np.ndarray:
        return (self.box[:2] + self.box[2:]) / 2

    @property
    def area(self) -> float:
        """Pixels of the box."""
        return float((self.box[2] - self.box[0]) * (self.box[3] - self.box[1]))


@dataclass(frozen=True)
class DetectorOptions:
    """Which detector, and what it is told."""

    name: str = DEFAULT_DETECTOR
    own: Mapping[str, Any] = field(default_factory=dict, hash=False)
    """Options that the detector declares; those left out have their defaults."""


class Detector(Protocol):
    """Finds faces, video by video."""

    def begin(self, video: Path, rel_path: Path) -> None:
        """A new video: its file, and its path below the folder that is worked through."""

    def detect(self, frames: np.ndarray) -> list[list[Face]]:
        """The faces in each of the video's next frames, uint8 [T, H, W, 3] RGB at 25 fps."""

    def end(self) -> None:
        """The video is over. Raises ValueError where what was found earlier does not fit its length."""


@runtime_checkable
class AnyOrder(Detector, Protocol):
    """A detector that may be shown some of a video's frames only, in any order."""

    last: list[Face]
    """The faces of the frame shown last: a face that is not seen at once is looked for from nearer where one
    was. May be set to those of a frame that is nearer to the next one."""


def overlap(a: np.ndarray, b: np.ndarray) -> float:
    """Intersection over union of two boxes [4]."""
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    both = width * height
    return float(both / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - both))


def build(options: DetectorOptions) -> Detector:
    """Make a detector. Raises ValueError with the right names, or what `options` lack."""
    return registry.load(__name__, options.name).build(**options.own)
