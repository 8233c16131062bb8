"""Face detectors against the key points that auto-avsr cuts mouths by."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from preparation.faces import mouth
from preparation.faces.detectors import DetectorOptions, build
from preparation.faces.mouth import CROP_SIDE
from preparation.faces.video import frame_chunks

KEY_POINTS = Path(__file__).parent / "faces" / "carphone_key_points.npy"
LIMITS_PX = {"blazeface": (2.0, 3.5, 0.01), "mediapipe": (3.5, 7.0, 0.04)}
"""Detector -> how far crops lie apart (pixels): median, 95th percentile; and how much their scales differ."""


@pytest.mark.slow
@pytest.mark.parametrize("name", LIMITS_PX)
def test_crops_lie_where_those_of_auto_avsr_lie(name: str, real_video: Path) -> None:
    if name == "mediapipe":
        pytest.importorskip("mediapipe", reason="the extra mediapipe is not installed")
    detector = build(DetectorOptions(name))
    detector.begin(real_video, Path(real_video.name))
    found = [faces for frames in frame_chunks(real_video) for faces in detector.detect(frames)]
    assert [len(faces) for faces in found] == [1] * 100
    ours = _placements(np.stack([faces[0].points for faces in found]))
    theirs = _placements(np.load(KEY_POINTS).astype(np.float64))
    offsets, scales = zip(*(_difference(a, b) for a, b in zip(ours, theirs, strict=True)), strict=True)
    median, most, scale = LIMITS_PX[name]
    assert np.median(offsets) < median
    assert np.percentile(offsets, 95) < most
    assert abs(np.median(scales) - 1) < scale


def _placements(landmarks: np.ndarray) -> list[mouth.Placement]:
    return [mouth.placed(points) for points in mouth.smoothed(landmarks)]


def _difference(a: mouth.Placement, b: mouth.Placement) -> tuple[float, float]:
    """How far the middle of crop `a` is from that of `b`, in pixels of `b`; scale of `a` / scale of `b`."""
    middle = np.full(2, CROP_SIDE / 2)
    in_picture = cv2.invertAffineTransform(a.matrix) @ np.append(middle, 1)
    scale = np.sqrt(np.linalg.det(a.matrix[:, :2]) / np.linalg.det(b.matrix[:, :2]))
    return float(np.linalg.norm(b.matrix @ np.append(in_picture, 1) - middle)), float(scale)
