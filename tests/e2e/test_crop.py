"""Cropping real and made-up recordings, as a user would."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest

import prepare_data
from datamodules.media import load_video
from preparation.faces import mouth
from preparation.faces.crop import CropOptions, NoMouthError, crop_video, cut_mouths
from preparation.faces.detectors import DetectorOptions, build
from tests.faces import read_rgb, textured
from tests.unit.media_files import tone, write_video


@pytest.fixture(scope="session")
def real_frames(real_video) -> np.ndarray:
    """The first 30 frames, uint8 [T, 144, 176, 3]."""
    return read_rgb(real_video)[:30]


STEADY = {"blazeface": 4.0, "mediapipe": 3.4}
"""Detector -> grey levels by which neighbouring crops differ at most, on average; measured: 3.65 and 3.1."""


@pytest.fixture(scope="session", params=STEADY)
def detector(request):
    return made(request.param)


def made(name):
    if name == "mediapipe":
        pytest.importorskip("mediapipe", reason="the extra mediapipe is not installed")
    return build(DetectorOptions(name))


def on_ground(frames, x, y, scale=1.0, into=None, height=320, width=640):
    """The frames as a picture in a larger one."""
    ground = np.full((len(frames), height, width, 3), 90, np.uint8) if into is None else into
    for t, frame in enumerate(frames):
        small = cv2.resize(frame, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)
        ground[t, y : y + small.shape[0], x : x + small.shape[1]] = small
    return ground


@pytest.mark.slow
def test_a_real_face(real_video, tmp_path, capsys):
    videos = tmp_path / "videos"
    videos.mkdir()
    (videos / "man.mp4").write_bytes(real_video.read_bytes())
    (videos / "man.txt").write_text("what he says is not known")
    out = tmp_path / "out"
    arguments = ["crop", str(videos), "--root-dir", str(out), "--contact-sheets", "--num-workers", "1"]
    assert prepare_data.main(arguments) == 0
    said = capsys.readouterr().out
    assert "1 video: 1 became 1 clip, 4.0 s" in said
    assert "interpolated in 0 of 100 frames" in said
    assert (out / "labels/own.csv").read_text() == "own,man.mp4,100,,what he says is not known\n"
    assert cv2.imread(str(out / "own/man.png")).shape == (4 * 96, 10 * 96, 3)
    clip = load_video(out / "own/man.mp4", 100)
    assert clip.shape == (100, 96, 96)


@pytest.mark.slow
def test_the_mouth_is_in_the_middle_and_steady(real_video):
    """Faces are found anew on the aligned pictures: the mouth's place there is the crop's own error."""
    detector = made("mediapipe")  # the one that is steady enough to measure by
    result = cut_mouths(real_video, detector, CropOptions())
    (track,) = result.tracks
    assert track.seen.all()
    frames = [frame for chunk in _chunks(real_video) for frame in chunk]
    places = []
    for frame, corners in zip(frames, track.corners, strict=True):
        around = np.array([[-80, -80], [176, -80], [176, 176]], np.float32)  # of the crop: 256x256
        matrix = cv2.getAffineTransform(corners[:3], np.array([[0, 0], [96, 0], [96, 96]], np.float32) + 80)
        assert len(around)
        (face,) = detector.detect(cv2.warpAffine(frame, matrix, (256, 256))[None])[0]
        places.append(mouth.mouth_centre(face.points) - 80)
    places = np.array(places)
    assert np.abs(places.mean(axis=0) - 48).max() < 1.5
    assert np.abs(places - 48).max() < 8
    assert np.diff(places, axis=0).std(axis=0).max() < 1.5, "pixels from frame to frame"


@pytest.mark.slow
@pytest.mark.parametrize("name", STEADY)
def test_neighbouring_crops_are_alike(real_video, name):
    (track,) = cut_mouths(real_video, made(name), CropOptions()).tracks
    assert np.abs(np.diff(track.frames.astype(int), axis=0)).mean() < STEADY[name]


@pytest.mark.slow
def test_a_face_that_fills_the_picture(real_video, detector):
    (track,) = cut_mouths(real_video, detector, CropOptions()).tracks
    frames = read_rgb(real_video)[:3]
    for frame, (left, top, right, bottom) in zip(frames, track.boxes.astype(int), strict=False):
        detector.begin(real_video, Path("near.mp4"))
        assert len(detector.detect(frame[None, max(0, top) : bottom, max(0, left) : right])[0]) == 1


def _chunks(path):
    from preparation.faces.video import frame_chunks

    return frame_chunks(path)


@pytest.mark.slow
def test_two_faces(real_frames, detector, tmp_path):
    frames = on_ground(real_frames[::-1], 30, 100)
    frames = on_ground(real_frames, 300, 20, 1.6, into=frames)
    path = write_video(tmp_path / "two.mp4", frames)
    (large,) = crop_video(path, detector)
    assert (large.centres[:, 0] > 300).all()
    (left,) = crop_video(path, detector, speaker=1)
    assert (left.centres[:, 0] < 250).all()
    assert left.seen.mean() >= 0.8, "a face of 49 pixels in 640"
    with pytest.raises(NoMouthError, match="fewer than 3 faces"):
        crop_video(path, detector, speaker=3)


@pytest.mark.slow
def test_a_scene_cut_and_a_mirror_image(real_frames, detector, tmp_path):
    frames = np.concatenate([on_ground(real_frames[:20], 20, 50, 1.5), on_ground(real_frames, 330, 20, 1.7)])
    first, second = crop_video(write_video(tmp_path / "a.mp4", frames), detector)
    assert (first.first, len(first.frames), second.first, len(second.frames)) == (0, 20, 20, 30)


@pytest.mark.slow
def test_no_face(detector, tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (30, 120, 160, 3), dtype=np.uint8)
    for name, frames in (("noise", noise), ("blocks", textured(30))):
        with pytest.raises(NoMouthError, match=rf"{name}\.mp4: 0\.00-1\.20 s: no face"):
            crop_video(write_video(tmp_path / f"{name}.mp4", frames), detector)


@pytest.mark.slow
def test_a_phone_held_upright_at_a_varying_rate(real_frames, detector, tmp_path):
    import av

    portrait = on_ground(real_frames, 10, 60, 1.5, height=400, width=290)
    path = tmp_path / "phone.mp4"
    times_ms = np.cumsum(np.tile([30, 33, 50, 33, 21], 6)) - 30
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=30, options={"crf": "12", "bf": "0"})
        stream.width, stream.height, stream.pix_fmt = 400, 290, "yuv420p"
        stream.codec_context.time_base = Fraction(1, 1000)
        stream.set_display_rotation(-90)
        for time_ms, picture in zip(times_ms, portrait, strict=True):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(np.rot90(picture)), format="rgb24")
            frame.pts, frame.time_base = int(time_ms), Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    (track,) = crop_video(path, detector)
    assert track.picture_size == (290, 400)
    assert abs(len(track.frames) - (times_ms[-1] + 33) / 40) <= 1
    expected = crop_video(write_video(tmp_path / "a.mp4", portrait, fps=30), detector)[0]
    assert np.abs(track.frames[0].astype(int) - expected.frames[0]).mean() < 4


@pytest.mark.slow
def test_a_model_file(real_frames, tmp_path):
    mediapipe = pytest.importorskip("mediapipe", reason="the extra mediapipe is not installed")
    bundled = Path(mediapipe.__file__).parent / "modules/face_detection/face_detection_short_range.tflite"
    key_points = build(DetectorOptions("mediapipe", own={"detector_model": bundled}))
    path = write_video(tmp_path / "a.mp4", real_frames[:15], fps=25, waveform=tone(9600))
    (track,) = crop_video(path, key_points)
    assert track.frames.shape == (15, 96, 96)
    (tmp_path / "no.task").write_text("no model")
    with pytest.raises(
        ValueError, match=r"no\.task: mediapipe cannot use this model; expected a FaceLandmarker"
    ):
        build(DetectorOptions("mediapipe", own={"detector_model": tmp_path / "no.task"}))
    with pytest.raises(ValueError, match=r"nowhere\.task: no such file"):
        build(DetectorOptions("mediapipe", own={"detector_model": tmp_path / "nowhere.task"}))
