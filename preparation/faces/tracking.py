"""The same face through a shot: scene cuts, linking faces over time, and whose mouth to crop.

Letters: T video frames.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from preparation.faces.detectors import Face, overlap
from preparation.faces.mouth import mouth_centre
from preparation.faces.opencv import cv2
from preparation.faces.options import ALL, SPEAKERS, Speaker

THUMBNAIL_SIDE = 16
CUT_MIN_CHANGE = 18.0
"""Grey levels, mean over a thumbnail's pixels: less is movement."""
CUT_CHANGE_RATIO = 3.0
"""A cut changes the picture so many times as much as frames around it change: a swinging camera does not."""
CUT_NEIGHBOURS = 8
"""Frames on either side that a change is compared with."""
FLASH_FRAMES = 3
"""A picture that is back as it was after so few frames was lit, not cut."""
LINK_MIN_OVERLAP = 0.3
LINK_MAX_DISTANCE = 0.5
"""Distance of two boxes' middles / their size, where they overlap less."""
LINK_MAX_SIZE_RATIO = 2.0


@dataclass
class Track:
    """One face over frames [first, first + len(faces)) of a video; None where it was not found."""

    first: int
    faces: list[Face | None] = field(default_factory=list)

    @property
    def stop(self) -> int:
        """The frame after the last one."""
        return self.first + len(self.faces)

    @property
    def seen(self) -> list[Face]:
        return [face for face in self.faces if face is not None]

    def overlaps(self, other: Track) -> bool:
        """Whether both have a frame in common."""
        return self.first < other.stop and other.first < self.stop


def thumbnail(picture: np.ndarray) -> np.ndarray:
    """Grey uint8 [16, 16] of a picture, grey [H, W] or RGB [H, W, 3], to find cuts in."""
    # A pixel here and there is enough; averaging all of a large picture takes longer than decoding it.
    step = max(1, min(picture.shape[:2]) // (8 * THUMBNAIL_SIDE))
    small = cv2.resize(
        np.ascontiguousarray(picture[::step, ::step]),
        (THUMBNAIL_SIDE, THUMBNAIL_SIDE),
        interpolation=cv2.INTER_AREA,
    )
    return cv2.cvtColor(small, cv2.COLOR_RGB2GRAY) if small.ndim == 3 else small


def shots(thumbnails: np.ndarray) -> list[tuple[int, int]]:
    """Frame ranges [start, stop) between scene cuts, of thumbnails uint8 [T, 16, 16]."""
    changes = np.array([difference(a, b) for a, b in itertools.pairwise(thumbnails)])
    starts = [0]
    for before in map(int, np.flatnonzero(changes >= CUT_MIN_CHANGE)):
        nearby = changes[max(0, before - CUT_NEIGHBOURS) : before + CUT_NEIGHBOURS + 1]
        nearby = np.delete(nearby, min(before, CUT_NEIGHBOURS))
        usual = np.median(nearby) if len(nearby) else 0.0
        if changes[before] > CUT_CHANGE_RATIO * usual and not _is_flash(thumbnails, before):
            starts.append(before + 1)
    return list(zip(starts, [*starts[1:], len(thumbnails)], strict=True))


def _is_flash(pictures: np.ndarray, before: int) -> bool:
    """Whether the change after frame `before` begins or ends a moment of another light."""
    after = before + 1
    later = pictures[after + 1 : after + 1 + FLASH_FRAMES]
    earlier = pictures[max(0, before - FLASH_FRAMES) : before]
    pairs = [(pictures[before], picture) for picture in later] + [(pictures[after], p) for p in earlier]
    return any(difference(a, b) < CUT_MIN_CHANGE / 2 for a, b in pairs)


def difference(a: np.ndarray, b: np.ndarray) -> float:
    """Grey levels, mean over the pixels of two thumbnails."""
    return float(np.abs(a.astype(np.int16) - b).mean())


def link(faces: Sequence[list[Face]], first: int, max_gap: int) -> list[Track]:
    """Join the faces of a shot's frames, which begin at frame `first` of the video, into tracks.

    A face that is not found for more than `max_gap` frames and comes back begins another track.
    """
    done: list[Track] = []
    alive: list[Track] = []
    for t, found in enumerate(faces, start=first):
        # `alive` tracks end with a found face; the gap up to now is filled when they go on.
        ended = [track for track in alive if t - track.stop > max_gap]
        done += ended
        alive = [track for track in alive if track not in ended]
        unmatched = list(range(len(found)))
        for track_index, index in matches([track.faces[-1] for track in alive], found):
            track = alive[track_index]
            track.faces += [None] * (t - track.stop)
            track.faces.append(found[index])
            unmatched.remove(index)
        alive += [Track(t, [found[index]]) for index in unmatched]
    return sorted(done + alive, key=lambda track: track.first)


def matches(before: Sequence[Face], after: Sequence[Face]) -> list[tuple[int, int]]:
    """Which face is which a little later: indices of both, the best pairs first, each face at most once."""
    scored = [
        (score, i, j)
        for i, one in enumerate(before)
        for j, other in enumerate(after)
        if (score := _likeness(one, other)) is not None
    ]
    pairs: list[tuple[int, int]] = []
    for _, i, j in sorted(scored, reverse=True):
        if all(i != taken and j != other for taken, other in pairs):
            pairs.append((i, j))
    return pairs


def _likeness(a: Face, b: Face) -> float | None:
    """How near two faces are, at most 1; None where they cannot be one that moved."""
    sizes = np.sqrt(max(a.area, 1e-9)), np.sqrt(max(b.area, 1e-9))
    if max(sizes) > LINK_MAX_SIZE_RATIO * min(sizes):
        return None
    shared = overlap(a.box, b.box)
    distance = float(np.linalg.norm(a.centre - b.centre)) / max(sizes)
    if shared < LINK_MIN_OVERLAP and distance > LINK_MAX_DISTANCE:
        return None
    return shared - distance


def choose(tracks: Sequence[Track], speaker: Speaker) -> list[Track]:
    """Whose mouth to crop: tracks of which no two share a frame (but for `all`), in order.

    largest: the face that fills most of the picture over its time; talking: the one whose mouth moves most; a
    number: the n-th face from the left among those that are there together; all: every face.
    """
    if speaker == ALL:
        return sorted(tracks, key=lambda track: (track.first, _mean_x(track)))
    if isinstance(speaker, int):
        picked = [track for group in _together(tracks) for track in _from_left(group, speaker)]
    else:
        picked = []
        for track in sorted(tracks, key=_SCORES[speaker], reverse=True):
            if not any(track.overlaps(other) for other in picked):
                picked.append(track)
    return sorted(picked, key=lambda track: track.first)


def _size(track: Track) -> float:
    return sum(face.area for face in track.seen)


def _movement(track: Track) -> float:
    """How far the mouth opens and closes in all, in distances between the eyes."""
    opening = np.array([_mouth_opening(face.points) for face in track.seen])
    if len(opening) < 3:
        return 0.0
    steady = np.convolve(opening, np.ones(3) / 3, mode="valid")
    return float(np.abs(np.diff(steady)).sum())


def _mouth_opening(points: np.ndarray) -> float:
    if len(points) == 4:
        eyes = np.linalg.norm(points[1] - points[0])
        return float(np.linalg.norm(points[3] - points[2]) / max(eyes, 1e-6))
    eyes = np.linalg.norm(points[42:48].mean(axis=0) - points[36:42].mean(axis=0))
    return float(np.linalg.norm(points[61:64] - points[[67, 66, 65]], axis=1).mean() / max(eyes, 1e-6))


_SCORES: dict[str, Callable[[Track], float]] = dict(zip(SPEAKERS, (_size, _movement), strict=True))


def _together(tracks: Sequence[Track]) -> list[list[Track]]:
    """Groups of tracks that share frames, directly or through others."""
    groups: list[list[Track]] = []
    stop = -1
    for track in sorted(tracks, key=lambda track: track.first):
        if track.first >= stop:
            groups.append([])
        groups[-1].append(track)
        stop = max(stop, track.stop)
    return groups


def _from_left(group: list[Track], number: int) -> list[Track]:
    """The tracks of the `number`-th person from the left, if there are so many."""
    people: list[list[Track]] = []
    for track in sorted(group, key=_mean_x):
        for person in people:
            near = abs(_mean_x(person[0]) - _mean_x(track)) < np.sqrt(track.seen[0].area)
            if near and not any(track.overlaps(other) for other in person):
                person.append(track)
                break
        else:
            people.append([track])
    return people[number - 1] if number <= len(people) else []


def _mean_x(track: Track) -> float:
    return float(np.mean([mouth_centre(face.points)[0] for face in track.seen]))
