"""One recording: clips, where they lie, and why there is none. Faces are told, not found."""

import numpy as np
import pytest

from datamodules.media.pixels import LUMA_WEIGHTS
from preparation.faces.crop import CropOptions, NoMouthError, crop_video, cut_mouths
from tests.faces import FakeDetector, brightness, face_at, textured
from tests.unit.media_files import write_video


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    """60 frames of 240x320."""
    return write_video(tmp_path_factory.mktemp("video") / "a.mp4", textured(60, 240, 320))


@pytest.fixture(scope="module")
def cut_video(tmp_path_factory):
    """40 frames, a scene cut, 30 frames."""
    frames = np.concatenate([textured(40, 240, 320, seed=1), textured(30, 240, 320, seed=2)])
    return write_video(tmp_path_factory.mktemp("cut_video") / "a.mp4", frames)


def cut(path, faces, **options):
    return cut_mouths(path, FakeDetector(faces), CropOptions(**options))


def test_a_still_face_gives_the_same_place_of_every_frame(video):
    (track,) = crop_video(video, FakeDetector([[face_at(20, 10)]] * 60))
    assert track.frames.shape == (60, 96, 96)
    assert track.frames.dtype == np.uint8
    assert (track.first, track.start_s, track.end_s) == (0, 0.0, 2.4)
    assert track.picture_size == (320, 240)
    assert track.seen.all()
    np.testing.assert_allclose(track.centres, [[150, 167]] * 60, atol=1e-3)
    np.testing.assert_allclose(track.corners[0], [[102, 119], [198, 119], [198, 215], [102, 215]], atol=1e-3)
    np.testing.assert_allclose(track.boxes, [face_at(20, 10).box] * 60, atol=1e-3)
    picture = textured(1, 240, 320)[0][119:215, 102:198] @ LUMA_WEIGHTS
    for t in (0, 25, 59):
        assert np.abs(track.frames[t].astype(float) - picture - brightness(t)).mean() < 3, t


def test_the_crop_follows_the_face(video):
    (track,) = crop_video(video, FakeDetector([[face_at(t, t / 2)] for t in range(60)]))
    np.testing.assert_allclose(track.centres[:, 0], 130 + np.arange(60), atol=1e-3)
    np.testing.assert_allclose(track.corners.mean(axis=1), track.centres, atol=0.75)


def test_the_speaker_is_chosen(video):
    faces = [[face_at(-60, 20, mouth_opening=4 + 4 * np.sin(t)), face_at(40, -20, 1.2)] for t in range(60)]
    large = crop_video(video, FakeDetector(faces))
    talking = crop_video(video, FakeDetector(faces), speaker="talking")
    for speaker, expected in (("largest", large), (1, talking), (2, large)):
        (track,) = crop_video(video, FakeDetector(faces), speaker=speaker)
        assert np.array_equal(track.frames, expected[0].frames)
    assert large[0].centres[0, 0] > talking[0].centres[0, 0] + 50
    with pytest.raises(NoMouthError, match=r"a\.mp4: 0\.00-2\.40 s: fewer than 3 faces"):
        crop_video(video, FakeDetector(faces), speaker=3)


@pytest.mark.parametrize("speaker", ["loudest", 0])
def test_an_unknown_speaker(speaker):
    with pytest.raises(ValueError, match="expected largest, talking, all, or the number of a face"):
        CropOptions(speaker=speaker)


def test_a_detector_that_is_never_asked():
    with pytest.raises(ValueError, match="found detect_every 0, expected 1 or more"):
        CropOptions(detect_every=0)


def test_scene_cuts_make_clips(cut_video):
    faces = [[face_at(20)]] * 40 + [[face_at(60)]] * 30
    result = cut(cut_video, faces)
    assert [(track.first, len(track.frames)) for track in result.tracks] == [(0, 40), (40, 30)]
    # No smoothing across the cut.
    assert np.ptp(result.tracks[0].corners, axis=0).max() < 1e-3
    (whole,) = cut(cut_video, faces, whole=True).tracks
    assert (whole.first, len(whole.frames)) == (0, 70)
    assert np.array_equal(whole.frames[:34], result.tracks[0].frames[:34])


def test_a_shot_without_a_face_is_left_out(cut_video):
    result = cut(cut_video, [[]] * 40 + [[face_at(60)]] * 30)
    assert [(track.first, len(track.frames)) for track in result.tracks] == [(40, 30)]
    assert result.rejected == ["0.00-1.60 s: no face"]
    assert (result.num_frames, result.num_faceless) == (70, 40)


def test_short_losses_are_interpolated_and_long_ones_split(video):
    faces = [[face_at(t)] for t in range(60)]
    for t in [*range(3), *range(20, 30), 59]:
        faces[t] = []
    (track,) = cut(video, faces, max_gap_seconds=0.4).tracks
    assert (track.first, len(track.frames)) == (0, 60)
    assert np.flatnonzero(~track.seen).tolist() == [0, 1, 2, *range(20, 30), 59]
    np.testing.assert_allclose(track.centres[20:30, 0], 130 + np.arange(20, 30), atol=1e-3)
    np.testing.assert_allclose(track.centres[[0, 59], 0], [133, 188], atol=1e-3)
    parts = cut(video, faces, max_gap_seconds=0.2).tracks
    assert [(part.first, part.first + len(part.frames)) for part in parts] == [(0, 20), (30, 60)]
    (whole,) = cut(video, faces, max_gap_seconds=0.2, whole=True).tracks
    assert np.array_equal(whole.frames, track.frames)


def test_who_follows_another_does_not_share_frames(video):
    faces = [[face_at(-60)]] * 25 + [[]] * 5 + [[face_at(60)]] * 30
    first, second = cut(video, faces).tracks
    assert first.first == 0
    assert first.first + len(first.frames) <= second.first
    assert second.first + len(second.frames) == 60
    assert not first.seen[25:].any()


def test_reasons_for_no_clip(video, tmp_path):
    assert cut(video, []).rejected == ["0.00-2.40 s: no face"]
    assert cut(video, [[face_at(0)]] * 5).rejected == [
        "0.00-2.40 s: no face is seen for long enough: the steadiest one is seen in 5 of 60 frames"
    ]
    sparse = [[face_at(0)] if t % 10 == 0 else [] for t in range(60)]
    assert "is seen in 6 of 60 frames" in cut(video, sparse).rejected[0]
    short = write_video(tmp_path / "short.mp4", textured(11))
    for whole in (True, False):
        (reason,) = cut(short, [[face_at(0)]] * 11, whole=whole).rejected
        assert "11 frames, fewer than 12" in reason
    with pytest.raises(NoMouthError, match=r"short\.mp4: .*11 frames, fewer than 12"):
        crop_video(short, FakeDetector([[face_at(0)]] * 11))


def test_nonsense_of_a_detector_costs_frames_and_as_a_whole_the_clip(video):
    off = face_at(20)
    off.points[[i for i in range(48, 68) if i not in (48, 54)]] += (0, 60)
    faces = [[face_at(20)]] * 60
    faces[30] = [off]
    (track,) = cut(video, faces).tracks
    assert np.flatnonzero(~track.seen).tolist() == [30]
    result = cut(video, [[off]] * 60, whole=True)
    assert result.tracks == []
    assert "px from the middle of the aligned face, more than 53" in result.rejected[0]


def test_progress_adds_up_to_the_video(video):
    told = []
    cut_mouths(video, FakeDetector([[face_at(20)]] * 60), CropOptions(), progress=told.append)
    assert sum(told) == pytest.approx(2.4)
