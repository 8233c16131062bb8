"""The geometry of mouth clips: from landmarks to 96x96 crops of an upright face of one size.

Every frame's face is turned, scaled and moved onto a mean face of 256x256 pixels, and the square around its
mouth is cut out, as auto-avsr does it.

Letters: T frames, P landmarks of a face (68, or 4 key points), H and W pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from datamodules.media.pixels import grey
from preparation.faces.opencv import cv2
from preparation.faces.warp import corners, warped

FACE_SIDE = 256
"""Pixels of the mean face's picture."""
CROP_SIDE = 96
SMOOTHING_FRAMES = 6
"""Landmarks are averaged over as many frames before and after."""
BLOCK_FRAMES = 4096
MAX_OFF_CENTRE = 53
"""Pixels between the mouth and the middle of the mean face's picture, on either axis."""
KEY_POINTS = np.array([[102.07, 94.27], [156.36, 93.58], [129.00, 135.90], [129.31, 157.82]])
"""Right eye, left eye, nose, mouth of the mean face."""
STABLE_INDICES = (28, 33, 36, 39, 42, 45, 48, 54)
STABLE_POINTS = np.array(
    [
        [128.49, 106.92],
        [128.87, 137.30],
        [92.52, 94.37],
        [112.77, 94.94],
        [145.53, 94.53],
        [166.68, 93.57],
        [107.17, 157.20],
        [152.19, 156.99],
    ]
)
"""The mean face at `STABLE_INDICES` of 68 landmarks: nose, corners of eyes and mouth."""
NOSE_TIP = 30
MOUTH = slice(48, 68)
MOUTH_KEY_POINT = 3
MIN_SPREAD = 1e-6
"""Pixels; landmarks closer than this have no orientation."""


class ImplausibleFaceError(ValueError):
    """Landmarks that cannot be those of a face: why."""


def interpolated(landmarks: Sequence[np.ndarray | None]) -> np.ndarray:
    """Fill gaps linearly and copy the ends: T arrays [P, 2], None where no face was found -> [T, P, 2].

    Raises ValueError where there is none at all.
    """
    known = [t for t, points in enumerate(landmarks) if points is not None]
    if not known:
        raise ValueError("expected landmarks of at least one frame, found none")
    values = np.stack([np.asarray(landmarks[t], dtype=np.float64) for t in known])
    times = np.arange(len(landmarks))
    filled = np.empty((len(landmarks), *values.shape[1:]))
    for place in np.ndindex(values.shape[1:]):
        filled[(slice(None), *place)] = np.interp(times, known, values[(slice(None), *place)])
    return filled


def smoothed(landmarks: np.ndarray) -> np.ndarray:
    """Average each face's shape over up to 6 frames on either side; its place stays its own. [T, P, 2]."""
    num_frames = len(landmarks)
    times = np.arange(num_frames)
    reach = np.minimum(np.minimum(times, num_frames - 1 - times), SMOOTHING_FRAMES)
    means = np.empty_like(landmarks)
    # Point by point, then block by block: hours of landmarks are not copied over and over.
    for point in range(landmarks.shape[1]):
        sums = np.concatenate([np.zeros((1, 2)), np.cumsum(landmarks[:, point], axis=0)])
        means[:, point] = (sums[times + reach + 1] - sums[times - reach]) / (2 * reach + 1)[:, None]
    for start in range(0, num_frames, BLOCK_FRAMES):
        block = slice(start, start + BLOCK_FRAMES)
        means[block] += (landmarks[block] - means[block]).mean(axis=1, keepdims=True)
    return means


@dataclass(frozen=True)
class Placement:
    """How one frame's crop lies in its picture."""

    matrix: np.ndarray
    """float64 [2, 3]: from pixels of the picture to pixels of the crop."""
    mouth: np.ndarray
    """float64 [2]: the mouth's centre on the mean face's 256x256 picture."""

    def corners(self) -> np.ndarray:
        """float64 [4, 2]: the crop's corners in the picture, clockwise from its upper left one."""
        return corners(self.matrix, CROP_SIDE)


def placed(points: np.ndarray) -> Placement:
    """Where to cut the crop of a face with these landmarks [P, 2].

    Raises:
        ImplausibleFaceError: all in one place, or a mouth that is nowhere near its place in a face.
    """
    if not np.isfinite(points).all() or np.ptp(points, axis=0).max() < MIN_SPREAD:
        raise ImplausibleFaceError("its landmarks coincide or are not finite")
    whole = len(points) > len(KEY_POINTS)
    source, target = (points[list(STABLE_INDICES)], STABLE_POINTS) if whole else (points, KEY_POINTS)
    to_mean_face, _ = cv2.estimateAffinePartial2D(source, target, method=cv2.LMEDS)
    if to_mean_face is None or abs(np.linalg.det(to_mean_face[:, :2])) < 1e-12:
        raise ImplausibleFaceError("its landmarks cannot be laid over a face")
    mouth = to_mean_face[:, :2] @ mouth_centre(points) + to_mean_face[:, 2]
    off_centre = np.abs(mouth - FACE_SIDE / 2).max()
    if off_centre > MAX_OFF_CENTRE:
        raise ImplausibleFaceError(
            f"its mouth lies {off_centre:.0f} px from the middle of the aligned face, more than "
            f"{MAX_OFF_CENTRE}"
        )
    matrix = to_mean_face.copy()
    matrix[:, 2] -= np.round(mouth - CROP_SIDE / 2)
    return Placement(matrix, mouth)


def mouth_centre(points: np.ndarray) -> np.ndarray:
    """Of landmarks [..., P, 2]: [..., 2]."""
    if points.shape[-2] > len(KEY_POINTS):
        return points[..., MOUTH, :].mean(axis=-2)
    return points[..., MOUTH_KEY_POINT, :]


def key_points(points: np.ndarray) -> np.ndarray:
    """[4, 2]: right eye, left eye, nose, mouth of a face's landmarks [P, 2]."""
    if len(points) == len(KEY_POINTS):
        return points
    eyes = points[36:42].mean(axis=0), points[42:48].mean(axis=0)
    return np.stack([*eyes, points[NOSE_TIP], mouth_centre(points)])


def cut(picture: np.ndarray, placement: Placement) -> np.ndarray:
    """The crop, grey uint8 [96, 96], of an RGB picture uint8 [H, W, 3]; what lies outside it is black."""
    colour = warped(picture, placement.matrix, CROP_SIDE)
    return grey(colour)
