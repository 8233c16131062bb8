"""A recording's mouths on its time axis, and who finds them.

Letters: T frames of 25 per second.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from llama_avsr.transcription.segments import Span
from preparation.faces.detectors import DetectorOptions
from preparation.faces.options import CropOptions
from preparation.faces.readers import FaceReader, Found, Track

HOLD_FRAMES = 12
"""Where the mouth is lost for no longer, its last picture stands in: words need not end with a shot."""


@dataclass(frozen=True, eq=False)
class Mouths:
    """The mouth tracks of a recording, in order and apart."""

    tracks: Sequence[Track]
    num_frames: int
    """Of the video."""

    @classmethod
    def of(cls, found: Found) -> Mouths:
        return cls(found.tracks, found.num_frames)

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


@dataclass(frozen=True)
class FaceSettings:
    """Whose face, and who finds it (`preparation.faces.detectors`)."""

    speaker: str | int = CropOptions.speaker
    detector: str = DetectorOptions.name
    detector_options: Mapping[str, Any] = field(default_factory=dict)
    """Those that the detector declares."""
    detect_every: int = CropOptions.detect_every

    def reader(self) -> FaceReader:
        """Raises ValueError for a detector that is not there."""
        options = DetectorOptions(self.detector, self.detector_options)
        return FaceReader(options, CropOptions(self.speaker, detect_every=self.detect_every))
