"""The faces of every frame of a video, from a detector that is shown as few frames as are enough."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np

from preparation.faces.detectors import AnyOrder, Detector, Face
from preparation.faces.following import followed
from preparation.faces.video import CHUNK_BYTES, MAX_CHUNK_FRAMES
from preparation.faces.views import View

MAX_STRETCHES = 8
"""Looked at together."""


class Finder:
    """Shows a detector every `every`-th frame of one video and follows faces between; where the ends of a
    stretch disagree, the frame in the middle as well, down to every frame.

    A detector that is not `AnyOrder` is shown all frames. accepts: other faces are as good as not seen.
    several: whether faces are followed where there is more than one.
    """

    def __init__(
        self, detector: Detector, every: int, accepts: Callable[[Face], bool], several: bool = True
    ) -> None:
        self._detector = detector
        self.every = every if isinstance(detector, AnyOrder) else 1
        self._accepts = accepts
        self._several = several
        self.seconds = 0.0
        """Time that finding has taken."""

    def found(self, views: Iterable[View]) -> Iterator[tuple[View, list[Face]]]:
        """All views, each with its faces."""
        views = iter(views)
        block, faces = list(itertools.islice(views, 1)), {}
        if not block:
            return
        at_once = max(1, min(MAX_CHUNK_FRAMES, CHUNK_BYTES // block[0].rgb().nbytes))
        stretches = at_once if self.every == 1 else min(at_once, MAX_STRETCHES)
        while True:
            # A block begins with the last view of the one before.
            more = list(itertools.islice(views, stretches * self.every))
            block += more
            start = time.perf_counter()
            self._fill(block, faces, at_once)
            self.seconds += time.perf_counter() - start
            last = len(block) - 1
            yield from ((block[t], faces[t]) for t in range(last if more else last + 1))
            if not more:
                return
            block, faces = block[last:], {0: faces[last]}

    def stretch(self, views: Sequence[View], first: list[Face] | None) -> list[list[Face]]:
        """The faces of a few views that follow each other. first: those of the first one, where known.

        The detector is shown the last view, and those between where that is not enough.
        """
        faces = {} if first is None else {0: first}
        self._fill(views, faces, MAX_CHUNK_FRAMES)
        return [faces[t] for t in range(len(views))]

    def _fill(self, block: Sequence[View], faces: dict[int, list[Face]], at_once: int) -> None:
        """Find the faces of all views of `block`; those of the first may be known."""
        keys = sorted({*range(0, len(block), self.every), len(block) - 1})
        self._look(block, faces, [t for t in keys if t not in faces], at_once)
        stretches = list(itertools.pairwise(keys))
        while stretches:
            halves = []
            for first, last in stretches:
                if last - first < 2:
                    continue
                between = followed(block[first : last + 1], faces[first], faces[last], self._several)
                if between is None:
                    middle = (first + last) // 2
                    halves += [(first, middle), (middle, last)]
                else:
                    faces.update(enumerate(between, start=first + 1))
            self._look(block, faces, [middle for _, middle in halves[::2]], at_once)
            stretches = halves

    def _look(
        self, block: Sequence[View], faces: dict[int, list[Face]], wanted: Sequence[int], at_once: int
    ) -> None:
        for start in range(0, len(wanted), at_once):
            some = wanted[start : start + at_once]
            if self.every > 1:
                nearest = max((t for t in faces if t < some[0]), default=None)
                if nearest is not None:
                    self._detector.last = faces[nearest]
            found = self._detector.detect(np.stack([block[t].rgb() for t in some]))
            for t, seen in zip(some, found, strict=True):
                faces[t] = [face for face in seen if self._accepts(face)]
