"""Recordings as they come: rates, turned pictures, odd pixels, sound, and files that are no good."""

import gc
import math
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from datamodules.media import MediaError
from datamodules.media.headers import duration_seconds
from datamodules.media.pictures import first_time
from datamodules.media.sound import read_sound
from preparation.faces import video
from tests.unit.media_files import BT709, FULL_RANGE, moving_bar, tone, write_video, write_wav


def frames_of(path: Path) -> np.ndarray:
    return np.concatenate(list(video.frame_chunks(path)))


def numbered(num_frames, height=96, width=128):
    """Frames whose brightness tells which one they are."""
    levels = (20 + 7 * np.arange(num_frames)).astype(np.uint8)
    return np.broadcast_to(levels[:, None, None, None], (num_frames, height, width, 3)).copy()


def numbers(frames):
    return ((frames.mean((1, 2, 3)) - 20) / 7).round().astype(int).tolist()


def quarters():
    """Upper left red, upper right green, lower left blue, lower right grey; 5 frames of 64x96."""
    frames = np.full((5, 64, 96, 3), 100, np.uint8)
    frames[:, :32, :48], frames[:, :32, 48:], frames[:, 32:, :48] = (200, 0, 0), (0, 200, 0), (0, 0, 200)
    return frames


def colours(picture):
    """Of the quarters, upper ones first."""
    height, width = picture.shape[:2]
    names = {0: "red", 1: "green", 2: "blue"}
    found = []
    for y in (height // 4, 3 * height // 4):
        for x in (width // 4, 3 * width // 4):
            pixel = picture[y, x].astype(int)
            found.append(names[int(pixel.argmax())] if np.ptp(pixel) > 90 else "grey")
    return found


def write_turned(path, degrees, hflip=False, aspect=None):
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"crf": "8"})
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        if aspect is not None:
            stream.codec_context.sample_aspect_ratio = aspect
        if degrees or hflip:
            stream.set_display_rotation(degrees, hflip=hflip)
        for image in quarters():
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())
    return path


def test_25_fps_gives_every_frame_once(tmp_path):
    frames = frames_of(write_video(tmp_path / "a.mp4", numbered(30)))
    assert frames.shape == (30, 96, 128, 3)
    assert frames.dtype == np.uint8
    assert numbers(frames) == list(range(30))


@pytest.mark.parametrize("fps", [30, Fraction(30000, 1001), 60, 24, Fraction(25, 2), 50])
def test_other_rates_are_resampled_by_time(tmp_path, fps):
    frames = frames_of(write_video(tmp_path / "a.mp4", numbered(30), fps=fps))
    rate = float(fps)
    assert len(frames) == math.floor(30 / rate * 25 + 0.5)
    for k, number in enumerate(numbers(frames)):
        assert abs(number / rate - k / 25) <= 0.5 / rate + 1e-3


def test_variable_rate(tmp_path):
    times_ms = [0, 40, 80, 120, 280, 320, 360]  # frames 4, 5 and 6 were dropped when recording
    frames = frames_of(write_video(tmp_path / "a.mp4", numbered(7), times_ms=times_ms))
    found = numbers(frames)
    assert found[:4] == [0, 1, 2, 3]
    assert found[7:10] == [4, 5, 6]
    assert set(found[4:7]) <= {3, 4}


def test_other_containers(tmp_path):
    for name in ("a.mkv", "a.avi", "a.mov", "a.ts"):
        frames = frames_of(write_video(tmp_path / name, numbered(20)))
        assert abs(len(frames) - 20) <= 1, name
        assert numbers(frames)[:19] == list(range(19)), name


def test_portrait_recordings_are_turned_upright(tmp_path):
    shown = {
        (0, False): ["red", "green", "blue", "grey"],
        (90, False): ["green", "grey", "red", "blue"],
        (-90, False): ["blue", "red", "grey", "green"],
        (180, False): ["grey", "blue", "green", "red"],
        (0, True): ["green", "red", "grey", "blue"],
    }
    for (degrees, hflip), expected in shown.items():
        picture = frames_of(write_turned(tmp_path / "a.mp4", degrees, hflip))[0]
        assert colours(picture) == expected, (degrees, hflip)
        assert picture.shape == ((96, 64, 3) if abs(degrees) == 90 else (64, 96, 3))


def test_pixels_become_square(tmp_path):
    picture = frames_of(write_turned(tmp_path / "a.mp4", 0, aspect=Fraction(4, 3)))[0]
    assert picture.shape == (64, 128, 3)
    assert colours(picture) == ["red", "green", "blue", "grey"]
    picture = frames_of(write_turned(tmp_path / "b.mp4", 90, aspect=Fraction(4, 3)))[0]
    assert picture.shape == (128, 64, 3)


def test_colours_are_full_range(tmp_path):
    path = write_video(tmp_path / "a.mp4", quarters(), color_range=FULL_RANGE, colorspace=BT709)
    assert np.abs(frames_of(path)[0].astype(int) - quarters()[0])[8:24, 8:40].max() <= 4


def test_memory_does_not_grow_with_the_length(tmp_path, monkeypatch):
    monkeypatch.setattr(video, "CHUNK_BYTES", 10 * 96 * 128 * 3)
    chunks = list(video.frame_chunks(write_video(tmp_path / "a.mp4", numbered(33))))
    assert [len(chunk) for chunk in chunks] == [10, 10, 10, 3]


def test_frames_are_freed_without_garbage_collection(tmp_path):
    path = write_video(tmp_path / "a.mp4", numbered(33))
    gc.collect()
    gc.disable()
    try:
        frames_of(path)
        alive = sum(type(thing) is av.VideoFrame for thing in gc.get_objects())
    finally:
        gc.enable()
    assert alive <= 1


def test_truncated_videos_say_where(tmp_path):
    frames = moving_bar(250, side=120)
    front = write_video(tmp_path / "a.mp4", frames, movflags="faststart")
    (tmp_path / "cut.mp4").write_bytes(front.read_bytes()[: front.stat().st_size // 2])
    with pytest.raises(MediaError, match=r"cut\.mp4: truncated or damaged, .* after \d\.\d of 10\.0 s"):
        frames_of(tmp_path / "cut.mp4")
    back = write_video(tmp_path / "b.mp4", frames).read_bytes()
    (tmp_path / "cut.mp4").write_bytes(back[: len(back) // 2])
    with pytest.raises(MediaError, match=r"cut\.mp4: cannot be decoded"):
        frames_of(tmp_path / "cut.mp4")
    matroska = write_video(tmp_path / "c.mkv", frames).read_bytes()
    (tmp_path / "cut.mkv").write_bytes(matroska[: len(matroska) // 2])
    with pytest.raises(MediaError, match=r"cut\.mkv: truncated .* after \d\.\d of 10\.0 s"):
        frames_of(tmp_path / "cut.mkv")


def test_what_is_no_video(tmp_path):
    (tmp_path / "text.mp4").write_bytes(b"this is no video" * 100)
    (tmp_path / "empty.mp4").write_bytes(b"")
    for name in ("text", "empty", "nowhere"):
        with pytest.raises(MediaError, match=name):
            frames_of(tmp_path / f"{name}.mp4")
    with pytest.raises(MediaError, match=r"a\.wav: expected a video, found only sound"):
        frames_of(write_wav(tmp_path / "a.wav", tone(1000)))
    assert duration_seconds(tmp_path / "text.mp4") is None


def test_a_cover_picture_is_no_video(tmp_path):
    path = tmp_path / "a.m4a"
    with av.open(str(path), "w", format="mp4") as container:
        sound = container.add_stream("aac", rate=16_000, layout="mono")
        cover = container.add_stream("mjpeg", rate=25)
        cover.width, cover.height, cover.pix_fmt = 64, 64, "yuvj420p"
        cover.disposition = av.stream.Disposition.attached_pic
        image = av.VideoFrame.from_ndarray(np.full((64, 64, 3), 99, np.uint8), format="rgb24")
        for packet in [*cover.encode(image), *cover.encode()]:
            container.mux(packet)
        chunk = av.AudioFrame.from_ndarray(tone(16_000)[None], format="fltp", layout="mono")
        chunk.sample_rate = 16_000
        for packet in [*sound.encode(chunk), *sound.encode()]:
            container.mux(packet)
    with av.open(str(path)) as container:
        if not container.streams.video[0].disposition & av.stream.Disposition.attached_pic:
            pytest.skip("this ffmpeg does not write the mark of a cover picture")
    with pytest.raises(MediaError, match="found only sound"):
        frames_of(path)


def write_sound(path, left, right, rate_hz=48_000, delay_seconds=0.0, skipped_frames=0):
    """2 s of video whose picture begins so many frames, and whose stereo sound so many seconds late."""
    with av.open(str(path), "w") as container:
        picture = container.add_stream("libx264", rate=25)
        picture.width, picture.height, picture.pix_fmt = 64, 64, "yuv420p"
        sound = container.add_stream("pcm_s16le", rate=rate_hz, layout="stereo")
        for t, image in enumerate(numbered(30, 64, 64)):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts, frame.time_base = t + skipped_frames, Fraction(1, 25)
            container.mux(picture.encode(frame))
        container.mux(picture.encode())
        samples = (np.stack([left, right], axis=1) * 32767).astype(np.int16).reshape(1, -1)
        chunk = av.AudioFrame.from_ndarray(samples, format="s16", layout="stereo")
        chunk.sample_rate, chunk.time_base = rate_hz, Fraction(1, rate_hz)
        chunk.pts = round(delay_seconds * rate_hz)
        container.mux(sound.encode(chunk))
        container.mux(sound.encode())
    return path


def test_sound_becomes_16_khz_mono(tmp_path):
    left = tone(96_000, rate_hz=48_000)
    waveform = read_sound(write_sound(tmp_path / "a.mkv", left, np.zeros_like(left)))
    assert waveform.dtype == np.float32
    assert abs(len(waveform) - 32_000) <= 16
    expected = tone(32_000) / 2
    assert np.abs(waveform[500:31_000] - expected[500:31_000]).max() < 0.01
    assert read_sound(write_video(tmp_path / "mute.mp4", moving_bar(5))) is None


@pytest.mark.parametrize("delay_seconds", [0.2, 0.0])
def test_sound_is_placed_by_its_time(tmp_path, delay_seconds):
    click = np.zeros(48_000, np.float32)
    click[9600:9700] = 0.9  # 0.2 s after the sound begins
    waveform = read_sound(write_sound(tmp_path / "a.mkv", click, click, delay_seconds=delay_seconds))
    assert np.abs(waveform).argmax() / 16_000 == pytest.approx(0.2 + delay_seconds, abs=0.01)


def test_sound_before_the_picture_is_dropped(tmp_path):
    click = np.zeros(48_000, np.float32)
    click[24_000:24_100] = 0.9  # at 0.5 s on the file's clock
    late = write_sound(tmp_path / "a.mkv", click, click, skipped_frames=10)
    assert first_time(late) == pytest.approx(0.4, abs=0.01)
    assert np.abs(read_sound(late)).argmax() / 16_000 == pytest.approx(0.1, abs=0.01)
