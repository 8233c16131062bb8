"""Mouths of a picture that is still being recorded: each frame's crop as soon as its face is known.

What differs from cutting a recording (`preparation.faces.crop`): a face's shape is averaged over the six
frames before it and not the six behind it; a face that is lost keeps its place until it is seen again, where
a recording draws a line between; whose mouth it is, is decided when the face comes, not by the whole shot.
A frame is held back until the detector's next one, by at most `every` frames.
Letters: H and W pixels, P landmarks of a face.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from preparation.faces import mouth, tracking
from preparation.faces.detectors import Detector, Face
from preparation.faces.finding import Finder
from preparation.faces.mouth import ImplausibleFaceError
from preparation.faces.options import ALL
from preparation.faces.views import View

MAX_LOST_FRAMES = 12
"""A face that is lost for longer has gone."""


class LiveMouths:
    """Pictures in, mouths out. speaker: largest, or a face's number from the left."""

    def __init__(self, detector: Detector, speaker: str | int, every: int) -> None:
        if speaker in ("talking", ALL):
            raise ValueError(f"--speaker {speaker} needs a whole recording: take largest or a number")
        detector.begin(Path("live"), Path("live"))
        self._finder = Finder(detector, every, _is_plausible)
        self._speaker = speaker
        self._stretch: list[View] = []
        self._first: list[Face] | None = None
        """Faces of the stretch's first view, which the one before ended with."""
        self._face: Face | None = None
        self._lost = 0
        self._shapes: deque[np.ndarray] = deque(maxlen=mouth.SMOOTHING_FRAMES + 1)
        self._thumbnail: np.ndarray | None = None

    def push(self, views: Sequence[View]) -> list[np.ndarray | None]:
        """The mouths, uint8 [96, 96], of the frames that are known now; None where there is none."""
        found: list[np.ndarray | None] = []
        for view in views:
            self._stretch.append(view)
            if len(self._stretch) == self._length:
                found += self._cut_stretch()
        return found

    def end(self) -> list[np.ndarray | None]:
        """The mouths of the last frames."""
        known = 0 if self._first is None else 1
        return self._cut_stretch() if len(self._stretch) > known else []

    @property
    def _length(self) -> int:
        # The first picture is a stretch of its own; each of the others begins with the last view before.
        return 1 if self._first is None else self._finder.every + 1

    def _cut_stretch(self) -> list[np.ndarray | None]:
        start = 0 if self._first is None else 1
        faces = self._finder.stretch(self._stretch, self._first)
        mouths = [self._mouth(v, f) for v, f in zip(self._stretch[start:], faces[start:], strict=True)]
        self._stretch, self._first = self._stretch[-1:], faces[-1]
        return mouths

    def _mouth(self, view: View, faces: list[Face]) -> np.ndarray | None:
        if self._thumbnail is not None:
            change = tracking.difference(self._thumbnail, view.thumbnail)
            if change >= tracking.CUT_MIN_CHANGE:
                self._forget()
        self._thumbnail = view.thumbnail
        face = self._same(faces) or (self._chosen(faces) if self._face is None else None)
        if face is None:
            self._lost += 1
            if self._lost > MAX_LOST_FRAMES:
                self._forget()
        else:
            self._face, self._lost = face, 0
            self._shapes.append(face.points)
        return None if self._face is None else view.cut(self._placed())

    def _same(self, faces: list[Face]) -> Face | None:
        pairs = [] if self._face is None else tracking.matches([self._face], faces)
        return faces[pairs[0][1]] if pairs else None

    def _chosen(self, faces: list[Face]) -> Face | None:
        if isinstance(self._speaker, int):
            from_left = sorted(faces, key=lambda face: float(face.centre[0]))
            return from_left[self._speaker - 1] if self._speaker <= len(faces) else None
        return max(faces, key=lambda face: face.area, default=None)

    def _placed(self) -> mouth.Placement:
        """By the mean shape of the last frames, at the place of the last one."""
        last = self._shapes[-1]
        shape = np.mean([points - points.mean(axis=0) for points in self._shapes], axis=0)
        try:
            return mouth.placed(shape + last.mean(axis=0))
        except ImplausibleFaceError:  # of a face that turned quickly
            return mouth.placed(last)

    def _forget(self) -> None:
        self._face, self._lost = None, 0
        self._shapes.clear()


def _is_plausible(face: Face) -> bool:
    try:
        mouth.placed(face.points)
    except ImplausibleFaceError:
        return False
    return True
