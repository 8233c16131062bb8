"""Turning, scaling and moving a picture without flicker."""

from __future__ import annotations

import numpy as np

from preparation.faces.opencv import cv2


def warped(picture: np.ndarray, matrix: np.ndarray, side: int, outside: int = 0) -> np.ndarray:
    """The square of `side` pixels that `matrix` [2, 3] maps the picture to: uint8, grey or RGB.

    What lies outside the picture gets the value `outside`. Where the square is less than half as large as
    what it shows, bilinear sampling would skip pixels, and the picture is averaged to a smaller one first.
    """
    factor = int(1 / np.sqrt(abs(np.linalg.det(matrix[:, :2]))))
    if factor > 1:
        picture, matrix = _shrunk(picture, matrix, side, factor)
    return cv2.warpAffine(
        picture,
        matrix,
        (side, side),
        flags=cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_CONSTANT,
        borderValue=(outside,) * 3,
    )


def corners(matrix: np.ndarray, side: int) -> np.ndarray:
    """float64 [4, 2]: where the square's corners lie in the picture, clockwise from its upper left one."""
    ends = np.array([[0, 0], [side, 0], [side, side], [0, side]], dtype=np.float64)
    inverse = cv2.invertAffineTransform(matrix)
    return ends @ inverse[:, :2].T + inverse[:, 2]


def _shrunk(picture: np.ndarray, matrix: np.ndarray, side: int, factor: int) -> tuple[np.ndarray, np.ndarray]:
    """The picture under the square, `factor` times smaller, and the matrix from it to the square."""
    ends = corners(matrix, side)
    lower = np.maximum(np.floor(ends.min(axis=0)).astype(int) - 2 * factor, 0)
    upper = np.minimum(np.ceil(ends.max(axis=0)).astype(int) + 2 * factor, picture.shape[1::-1])
    size = np.maximum(upper - lower, 0) // factor
    if size.min() < 1:
        return picture, matrix
    left, top = lower
    right, bottom = lower + size * factor
    small = cv2.resize(picture[top:bottom, left:right], tuple(map(int, size)), interpolation=cv2.INTER_AREA)
    # The middle of a small pixel lies (factor - 1) / 2 beyond the middle of its first large one.
    shift = (factor - 1) / 2
    from_small = np.array([[factor, 0, left + shift], [0, factor, top + shift], [0, 0, 1]])
    return small, matrix @ from_small
