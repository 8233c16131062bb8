"""Mouths cut straight from decoded frames: what RGB would give, and decoded once or twice."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from datamodules.media.pixels import is_grey
from preparation.faces import crop, mouth, tracking, video
from preparation.faces.crop import cut_mouths
from preparation.faces.options import CropOptions
from preparation.faces.views import View
from tests.faces import FakeDetector, face_at, key_points, moved, smooth_picture, textured
from tests.unit.media_files import BT601, BT709, FULL_RANGE, LIMITED_RANGE, write_video
from tests.unit.test_raw_video import write_turned


def coloured() -> np.ndarray:
    """RGB [240, 320, 3], smooth."""
    picture = smooth_picture(240, 320)
    return np.stack([picture[..., 0], picture[::-1, ::-1, 1], 255 - picture[..., 2] // 2], axis=2)


@pytest.fixture(
    scope="module", params=[(BT601, LIMITED_RANGE), (BT601, FULL_RANGE), (BT709, LIMITED_RANGE)], ids=str
)
def view(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> View:
    """Of the coloured picture as a video."""
    matrix, extent = request.param
    path = tmp_path_factory.mktemp("coloured") / "a.mp4"
    write_video(path, coloured()[None], color_range=extent, colorspace=matrix)
    (view,) = video.views(path)
    return view


@pytest.mark.parametrize("scale", [0.3, 1.0, 4.0])
def test_cut_is_grey_at_full_range(view: View, scale: float) -> None:
    placement = mouth.placed(moved(key_points(), 60, -90, scale, 0.2))
    found = view.cut(placement)
    off = np.abs(found - mouth.cut(coloured(), placement).astype(int))
    # Straight from luma it is closer than by way of RGB, which ffmpeg rounds down.
    assert off.max() <= (2 if is_grey(view._frame) else 4)
    assert np.abs(found - mouth.cut(view.rgb(), placement).astype(int)).max() <= 4


def test_thumbnails_are_grey_or_nearly(view: View) -> None:
    difference = np.abs(view.thumbnail - tracking.thumbnail(view.rgb()).astype(int))
    # Another matrix is another mixture of colours, all the same from frame to frame.
    assert difference.max() <= (3 if is_grey(view._frame) else 25)


@pytest.mark.parametrize("degrees", [0, 90, -90, 180])
@pytest.mark.parametrize("mirrored", [False, True])
def test_turned_pictures(tmp_path: Path, degrees: int, mirrored: bool) -> None:
    placement = mouth.placed(moved(key_points(), -20, -25, 0.5))
    for view in video.views(write_turned(tmp_path / "a.mp4", degrees, mirrored)):
        expected = mouth.cut(view.rgb(), placement).astype(int)
        assert np.ptp(expected) > 50
        assert np.percentile(np.abs(view.cut(placement) - expected), 99) <= 3
        assert view.brightness().shape == view.rgb().shape[:2]


def test_long_videos_are_decoded_twice_and_give_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_video(tmp_path / "a.mp4", textured(30, 240, 320))
    decodings = []
    views = video.views
    monkeypatch.setattr(video, "views", lambda *asked: decodings.append(asked) or views(*asked))

    def frames() -> np.ndarray:
        faces = [[face_at(t, t / 2)] for t in range(30)]
        (track,) = cut_mouths(path, FakeDetector(faces), CropOptions()).tracks
        return np.asarray(track.frames)

    once = frames()
    assert len(decodings) == 1
    monkeypatch.setattr(crop, "KEPT_BYTES", 20 * 240 * 320)
    twice = frames()
    assert len(decodings) == 3
    assert np.array_equal(once, twice)
