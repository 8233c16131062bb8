"""The geometry of mouth crops, on faces whose place is known."""

import cv2
import numpy as np
import pytest

from datamodules.media.pixels import LUMA_WEIGHTS
from preparation.faces import mouth
from preparation.faces.mouth import ImplausibleFaceError
from preparation.faces.warp import corners, warped
from tests.faces import MOUTH_X, MOUTH_Y, key_points, mean_face_68, moved, smooth_picture


def naive_smoothed(landmarks):
    n = len(landmarks)
    out = []
    for i in range(n):
        m = min(6, i, n - 1 - i)
        mean = np.mean([landmarks[j] for j in range(i - m, i + m + 1)], axis=0)
        out.append(mean + landmarks[i].mean(axis=0) - mean.mean(axis=0))
    return np.array(out)


@pytest.mark.parametrize("num_frames", [1, 2, 5, 12, 13, 14, 60])
@pytest.mark.parametrize("num_points", [4, 68])
def test_smoothing_is_the_formula(num_frames, num_points):
    landmarks = np.random.default_rng(num_frames).normal(100, 20, (num_frames, num_points, 2))
    found = mouth.smoothed(landmarks)
    np.testing.assert_allclose(found, naive_smoothed(landmarks), atol=1e-8)
    np.testing.assert_allclose(found.mean(axis=1), landmarks.mean(axis=1), atol=1e-8)
    np.testing.assert_allclose(found[[0, -1]], landmarks[[0, -1]], atol=1e-8)


def test_gaps_are_filled_linearly_and_ends_copied():
    a, b = np.zeros((4, 2)), np.full((4, 2), 4.0)
    found = mouth.interpolated([None, a, None, None, None, b, None])
    assert found.shape == (7, 4, 2)
    assert found[:, 0, 0].tolist() == [0, 0, 1, 2, 3, 4, 4]
    with pytest.raises(ValueError, match="found none"):
        mouth.interpolated([None, None])


def test_the_mean_face_is_cut_where_it_lies():
    picture = np.random.default_rng(0).integers(0, 256, (256, 256, 3), dtype=np.uint8)
    grey = (picture @ LUMA_WEIGHTS + 0.5).astype(np.uint8)
    placement = mouth.placed(mean_face_68())
    np.testing.assert_allclose(placement.mouth, [MOUTH_X, MOUTH_Y], atol=1e-6)
    left, top = int(MOUTH_X) - 48, int(MOUTH_Y) - 48
    assert np.array_equal(mouth.cut(picture, placement), grey[top : top + 96, left : left + 96])
    expected = [[left, top], [left + 96, top], [left + 96, top + 96], [left, top + 96]]
    np.testing.assert_allclose(placement.corners(), expected, atol=1e-6)

    placement = mouth.placed(key_points())
    np.testing.assert_allclose(placement.mouth, [129.31, 157.82], atol=1e-6)
    assert np.array_equal(mouth.cut(picture, placement), grey[110 : 110 + 96, 81 : 81 + 96]), (
        "rounded corners"
    )


@pytest.mark.parametrize("points", [mean_face_68(), key_points()], ids=["68", "4"])
@pytest.mark.parametrize(("scale", "turn"), [(1.7, 0.0), (1.0, 0.5), (0.6, -0.8), (3.3, 0.2), (6.0, 1.5)])
def test_size_turn_and_place_of_the_face_do_not_matter(points, scale, turn):
    picture = smooth_picture()
    expected = mouth.cut(picture, mouth.placed(points)).astype(int)
    side = int(256 * scale * 3)
    x, y = side / 2, side / 2
    cos, sin = np.cos(turn) * scale, np.sin(turn) * scale
    away = cv2.warpAffine(
        picture, np.array([[cos, -sin, x], [sin, cos, y]]), (side, side), flags=cv2.INTER_CUBIC
    )
    found = mouth.cut(away, mouth.placed(moved(points, x, y, scale, turn))).astype(int)
    inside = np.abs(found - expected)[4:-4, 4:-4]
    assert inside.mean() < 1.5
    assert inside.max() <= 8


def test_alignment_is_deterministic_and_survives_an_outlier():
    rng = np.random.default_rng(3)
    points = moved(mean_face_68(), 40, 30, 1.3, 0.1) + rng.normal(0, 0.5, (68, 2))
    first = mouth.placed(points)
    assert all(np.array_equal(mouth.placed(points).matrix, first.matrix) for _ in range(5))
    points[36] += 60
    np.testing.assert_allclose(mouth.placed(points).mouth, first.mouth, atol=4)


def test_faces_that_are_none():
    with pytest.raises(ImplausibleFaceError, match="coincide"):
        mouth.placed(np.full((68, 2), 7.0))
    with pytest.raises(ImplausibleFaceError, match="not finite"):
        mouth.placed(np.full((4, 2), np.nan))
    points = mean_face_68()
    free = [i for i in range(48, 68) if i not in (48, 54)]
    points[free] += (0, 40)
    with pytest.raises(ImplausibleFaceError, match=r"its mouth lies 6\d px from the middle .* more than 53"):
        mouth.placed(points)
    points[free] -= (0, 14.5)
    assert abs(mouth.placed(points).mouth[1] - 128) < 53


def test_outside_the_picture_is_black():
    picture = np.full((120, 256, 3), 200, np.uint8)
    crop = mouth.cut(picture, mouth.placed(mean_face_68()))
    assert (crop[: 120 - 109] == 200).all()
    assert (crop[120 - 109 :] == 0).all()


def test_large_faces_do_not_flicker():
    """Fine texture, moved by a pixel, may not change a crop that is eight times smaller by much."""
    rng = np.random.default_rng(0)
    picture = rng.integers(0, 256, (2100, 2100, 3), dtype=np.uint8)
    matrix = np.array([[1 / 8, 0, -64.0], [0, 1 / 8, -64.0]])
    crop = warped(picture, matrix, 96).astype(int)
    assert crop.std() < 20, "single pixels would have a deviation of 74"
    np.testing.assert_allclose(corners(matrix, 96), [[512, 512], [1280, 512], [1280, 1280], [512, 1280]])
