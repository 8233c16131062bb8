"""Who is who among the mouth tracks of a recording.

Letters: T frames of 25 per second, H and W pixels.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from llama_avsr.transcription.mouths import Mouths
from preparation.faces.readers import Found, Track

SAME_FACE = 0.9
"""Correlation of the mean pictures of two tracks from which on they show one person. Strict: the most alike
of GRID's speakers reach 0.85, clips of one speaker 0.87 (median)."""
LOOKED_AT = 50
"""Frames of a track, evenly chosen, that its mean picture is made of."""


@dataclass(frozen=True, eq=False)
class Person:
    """Somebody whose lips are read."""

    label: str | None
    """ "speaker 1"; None where one face is followed."""
    mouths: Mouths


def people_of(found: Found) -> list[Person]:
    """The persons of a video in which all faces were followed, in the order of their coming, from the left
    where they come together.

    Tracks that share no frame and look alike are one person's: a face that was lost and comes back, or that a
    cut comes back to.
    """
    groups: list[_Group] = []
    for track in sorted(found.tracks, key=lambda track: (track.first, _x(track))):
        look = _look(track)
        alike = [(group.likeness(look), group) for group in groups if not group.meets(track)]
        best = max(alike, key=lambda pair: pair[0], default=(0.0, None))
        if best[0] >= SAME_FACE:
            best[1].add(track, look)
        else:
            groups.append(_Group([track], [look]))
    return [
        Person(f"speaker {number}", Mouths(group.tracks, found.num_frames))
        for number, group in enumerate(groups, 1)
    ]


@dataclass
class _Group:
    tracks: list[Track]
    looks: list[np.ndarray] = field(default_factory=list)

    def add(self, track: Track, look: np.ndarray) -> None:
        self.tracks.append(track)
        self.looks.append(look)

    def likeness(self, look: np.ndarray) -> float:
        return max(float((own * look).mean()) for own in self.looks)

    def meets(self, track: Track) -> bool:
        """Whether one of its tracks shares a frame with `track`."""
        return any(
            own.first < track.first + len(track.frames) and track.first < own.first + len(own.frames)
            for own in self.tracks
        )


def _look(track: Track) -> np.ndarray:
    """The mean picture [H, W] of a track, of mean 0 and variance 1."""
    chosen = np.linspace(0, len(track.frames) - 1, min(LOOKED_AT, len(track.frames))).astype(int)
    mean = np.mean([track.frames[int(t)] for t in chosen], axis=0, dtype=np.float32)
    return (mean - mean.mean()) / max(float(mean.std()), 1e-6)


def _x(track: Track) -> float:
    """Where a track begins, from the left."""
    return float(np.asarray(track.corners[0])[:, 0].mean())
