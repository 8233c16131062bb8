"""A face followed through a few frames by the movement of its picture, from where a detector sees it to where
it sees it again.

Letters: T frames, N points.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np

from preparation.faces import mouth, tracking
from preparation.faces.detectors import Face
from preparation.faces.opencv import cv2
from preparation.faces.views import View
from preparation.faces.warp import warped

PATCH_SIDE = 96
"""Pixels of the picture of a face that is followed."""
PATCH_MARGIN = 1.6
"""Side of that picture / side of the box around the face's places at both ends."""
GRID = np.linspace(-0.35, 0.35, 4)
"""Points that are followed, from the face's middle, in widths and heights of its box."""
WINDOW = 11
LEVELS = 2
STOP = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 10, 0.03)
MAX_SCATTER = 0.02
"""Of the picture's side. Points that move otherwise than most by more have lost the face in that frame."""
MIN_TOGETHER = 0.5
"""Of the points: as many must move together."""
MAX_DISAGREEMENT = 0.04
"""Of the face's size, between where a key point was followed to and where the detector sees it; the detector
itself is good to about 0.01."""
MAX_STRAY = 0.1
"""Of the face's size, between a face's path and the straight line from end to end."""
STILL = 1.0
"""Grey levels, mean over a thumbnail's pixels: what changes less shows nobody who comes."""


def followed(
    views: Sequence[View], before: Sequence[Face], after: Sequence[Face], several: bool = True
) -> list[list[Face]] | None:
    """The faces of the T - 2 pictures between the first, which shows `before`, and the last (`after`).

    several: whether more than one face is followed. None where the faces of both ends are not the same, where
    one is lost or moves in leaps, at a scene cut, and where nobody is seen but something moves.
    """
    pairs = tracking.matches(before, after)
    if not len(pairs) == len(before) == len(after) or (len(pairs) > 1 and not several):
        return None
    changes = [tracking.difference(a.thumbnail, b.thumbnail) for a, b in itertools.pairwise(views)]
    if max(changes) >= (tracking.CUT_MIN_CHANGE if pairs else STILL):
        return None
    paths = []
    for i, j in pairs:
        path = _path(views, before[i], after[j])
        if path is None:
            return None
        paths.append(path)
    return [[path[t] for path in paths] for t in range(len(views) - 2)]


def _path(views: Sequence[View], before: Face, after: Face) -> list[Face] | None:
    if before.points.shape != after.points.shape:
        return None
    to_patch = _patch(before, after)
    patches = [warped(view.brightness(), to_patch, PATCH_SIDE) for view in views]
    moved = _movement(patches, _grid(before) @ to_patch[:, :2].T + to_patch[:, 2])
    if moved is None:
        return None
    moved /= to_patch[0, 0]
    share = np.linspace(0, 1, len(views))[:, None]
    stray = moved - share * moved[-1]
    missed = mouth.key_points(after.points) - mouth.key_points(before.points) - moved[-1]
    size = np.sqrt(before.area)
    if _longest(missed) > MAX_DISAGREEMENT * size or _longest(stray) > MAX_STRAY * size:
        return None
    return [_between(before, after, float(share[t, 0]), stray[t]) for t in range(1, len(views) - 1)]


def _patch(before: Face, after: Face) -> np.ndarray:
    """The matrix [2, 3] from the picture to a square around the face's places."""
    lower = np.minimum(before.box[:2], after.box[:2])
    upper = np.maximum(before.box[2:], after.box[2:])
    scale = PATCH_SIDE / (PATCH_MARGIN * max(1.0, (upper - lower).max()))
    shift = PATCH_SIDE / 2 - scale * (lower + upper) / 2
    return np.array([[scale, 0, shift[0]], [0, scale, shift[1]]])


def _grid(face: Face) -> np.ndarray:
    """Points on the face, [N, 2]."""
    x, y = np.meshgrid(*(face.centre[:, None] + GRID * (face.box[2:] - face.box[:2])[:, None]))
    return np.stack([x.ravel(), y.ravel()], axis=1)


def _movement(patches: Sequence[np.ndarray], points: np.ndarray) -> np.ndarray | None:
    """How far most of the points [N, 2] of the first picture have moved in each, [T, 2]; None where they move
    apart."""
    moved = np.zeros((len(patches), 2))
    for t, (one, other) in enumerate(itertools.pairwise(patches), start=1):
        start = (points + moved[t - 1]).astype(np.float32)
        end, found, _ = cv2.calcOpticalFlowPyrLK(
            one, other, start, None, winSize=(WINDOW, WINDOW), maxLevel=LEVELS, criteria=STOP
        )
        steps = end - start
        step = np.median(steps, axis=0)
        together = (np.linalg.norm(steps - step, axis=1) <= MAX_SCATTER * PATCH_SIDE) & (found[:, 0] == 1)
        if together.mean() < MIN_TOGETHER:
            return None
        moved[t] = moved[t - 1] + step
    return moved


def _between(before: Face, after: Face, share: float, stray: np.ndarray) -> Face:
    return Face(
        box=before.box + share * (after.box - before.box) + np.tile(stray, 2),
        points=before.points + share * (after.points - before.points) + stray,
        score=min(before.score, after.score),
    )


def _longest(vectors: np.ndarray) -> float:
    return float(np.linalg.norm(vectors, axis=-1).max())
