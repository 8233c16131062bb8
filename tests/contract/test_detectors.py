"""What every face detector promises, shown on a real face."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from datamodules import registry
from preparation.faces import detectors
from preparation.faces.detectors import AnyOrder, Detector, DetectorOptions, Face
from preparation.faces.detectors.landmarks import LandmarkFiles
from preparation.faces.options import MissingExtraError
from preparation.faces.video import frame_chunks

NAMES = registry.names("preparation.faces.detectors")
NUM_FRAMES = 30


@pytest.fixture(scope="module")
def frames(real_video: Path) -> np.ndarray:
    return np.concatenate(list(frame_chunks(real_video)))[:NUM_FRAMES]


@pytest.fixture(params=NAMES)
def detector(request: pytest.FixtureRequest, real_video: Path, tmp_path: Path) -> tuple[Detector, Path]:
    """And the video that it is shown."""
    video = Path(shutil.copy(real_video, tmp_path))
    options = registry.load("preparation.faces.detectors", request.param).tiny(video, NUM_FRAMES)
    try:
        return detectors.build(DetectorOptions(request.param, options)), video
    except MissingExtraError as error:
        pytest.skip(str(error))


def seen(detector: Detector, video: Path, *pieces: np.ndarray) -> list[list[Face]]:
    detector.begin(video, Path(video.name))
    found = [faces for piece in pieces for faces in detector.detect(piece)]
    detector.end()
    return found


def test_some_are_found() -> None:
    assert {"blazeface", "landmarks", "mediapipe"} <= set(NAMES)


def test_a_face_in_each_frame(detector: tuple[Detector, Path], frames: np.ndarray) -> None:
    found = seen(*detector, frames)
    assert [len(faces) for faces in found] == [1] * NUM_FRAMES
    for (face,) in found:
        assert face.points.shape in {(4, 2), (68, 2)}
        assert np.isfinite(face.points).all()
        assert face.box.shape == (4,)
        assert 0 < face.score <= 1
        # The man's face is in the middle of the picture, and his mouth below his eyes.
        (left, top, right, bottom), mouth = face.box, face.points[-1]
        assert left < 90 < right
        assert top < 70 < bottom
        assert mouth[1] > face.points[:, 1].mean()


def test_pieces_and_earlier_videos_change_nothing(
    detector: tuple[Detector, Path], frames: np.ndarray
) -> None:
    whole = seen(*detector, frames)
    for again in (seen(*detector, frames), seen(*detector, frames[:7], frames[7:8], frames[8:])):
        for (one,), (other,) in zip(whole, again, strict=True):
            np.testing.assert_allclose(other.points, one.points, atol=1e-3)
            np.testing.assert_allclose(other.box, one.box, atol=1e-3)


def test_frames_may_come_in_any_order_where_that_is_said(
    detector: tuple[Detector, Path], frames: np.ndarray
) -> None:
    if not isinstance(detector[0], AnyOrder):
        assert isinstance(detector[0], LandmarkFiles), "only landmarks go by the frame's number"
        return
    whole = seen(*detector, frames)
    order = [0, 20, 10, 5, 15]
    for t, (face,) in zip(order, seen(*detector, *(frames[t : t + 1] for t in order)), strict=True):
        np.testing.assert_allclose(face.points, whole[t][0].points, atol=0.05)
