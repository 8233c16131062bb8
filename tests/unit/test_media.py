"""Reading clips: grey, frame rates, sound, and files that are no good."""

from contextlib import suppress
from fractions import Fraction

import numpy as np
import pytest
import torch

from datamodules.media import MediaError, load_audio, load_video
from tests.unit.media_files import (
    BT601,
    BT709,
    FULL_RANGE,
    LIMITED_RANGE,
    moving_bar,
    tone,
    write_video,
    write_wav,
)

COLOURS = [(0, 0, 0), (255, 255, 255), (200, 60, 50), (30, 90, 200), (60, 200, 70), (128, 128, 128)]
STRIPE = 16


def stripes(num_frames=5):
    frames = np.zeros((num_frames, 96, 96, 3), np.uint8)
    for i, colour in enumerate(COLOURS):
        frames[:, :, i * STRIPE : (i + 1) * STRIPE] = colour
    return frames


def numbered(num_frames):
    """Frames whose brightness tells which one they are."""
    levels = (20 + 7 * np.arange(num_frames)).astype(np.uint8)
    return np.broadcast_to(levels[:, None, None, None], (num_frames, 96, 96, 3)).copy()


def numbers(video):
    return ((video.float().mean((1, 2)) - 20) / 7).round().int().tolist()


@pytest.mark.parametrize("colour_range", [LIMITED_RANGE, FULL_RANGE])
@pytest.mark.parametrize("colorspace", [BT601, BT709])
def test_grey_is_full_range_whatever_the_file_says(tmp_path, colour_range, colorspace):
    path = write_video(tmp_path / "a.mp4", stripes(), color_range=colour_range, colorspace=colorspace)
    video = load_video(path)
    assert video.shape == (5, 96, 96)
    assert video.dtype == torch.uint8
    for i, (r, g, b) in enumerate(COLOURS):
        expected = 0.299 * r + 0.587 * g + 0.114 * b
        found = video[:, :, i * STRIPE + 4 : (i + 1) * STRIPE - 4].float()
        assert (found - expected).abs().max() <= 3, (r, g, b)  # 2, and 1 of H.264


def test_25_fps_gives_every_frame_once(tmp_path):
    video = load_video(write_video(tmp_path / "a.mp4", numbered(30)), 30)
    assert numbers(video) == list(range(30))


def test_other_rates_are_resampled_by_time(tmp_path):
    video = load_video(write_video(tmp_path / "a.mp4", numbered(30), fps=30))
    assert numbers(video) == [round(k * 30 / 25 - 1e-9) for k in range(25)]
    video = load_video(write_video(tmp_path / "b.mp4", numbered(20), fps=Fraction(25, 2)))
    assert len(video) == 40
    assert numbers(video)[::2] == list(range(20))


def test_variable_rate_and_missing_frames(tmp_path):
    # 10 frames, of which 4, 5 and 6 were dropped when recording.
    times_ms = [0, 40, 80, 120, 280, 320, 360]
    video = load_video(write_video(tmp_path / "a.mp4", numbered(7), times_ms=times_ms))
    assert numbers(video)[:4] == [0, 1, 2, 3]
    assert numbers(video)[7:10] == [4, 5, 6]
    assert set(numbers(video)[4:7]) <= {3, 4}


def test_label_length(tmp_path):
    path = write_video(tmp_path / "a.mp4", moving_bar(20))
    assert len(load_video(path, 18)) == 18
    assert len(load_video(path, 22)) == 20
    with pytest.raises(MediaError, match=r"a\.mp4: found 20 frames of 25 fps, the label promises 23"):
        load_video(path, 23)


@pytest.mark.parametrize("side", [64, 400])
def test_only_mouth_crops(tmp_path, side):
    path = write_video(tmp_path / "a.mp4", moving_bar(3, side=side))
    with pytest.raises(MediaError, match=rf"a\.mp4: found {side}x{side} pixels, expected a mouth crop"):
        load_video(path)


def test_broken_videos_are_media_errors(tmp_path):
    whole = write_video(tmp_path / "whole.mp4", moving_bar(50)).read_bytes()
    front = write_video(tmp_path / "front.mp4", moving_bar(50), movflags="faststart").read_bytes()
    scrambled = bytearray(front)
    scrambled[len(front) // 2 : -100] = bytes(len(front) - 100 - len(front) // 2)
    contents = {
        "empty": b"",
        "text": b"this is no video" * 100,
        "without_index": whole[: len(whole) // 2],
        "cut_short": front[: len(front) // 2],
        "scrambled": bytes(scrambled),
    }
    for name, content in contents.items():
        path = tmp_path / f"{name}.mp4"
        path.write_bytes(content)
        with pytest.raises(MediaError, match=name):
            load_video(path, 50)
    with pytest.raises(MediaError, match="no such file"):
        load_video(tmp_path / "nowhere.mp4")
    with pytest.raises(MediaError, match=r"sound\.mp4: expected a video"):
        load_video(write_wav(tmp_path / "sound.wav", tone(1000)).rename(tmp_path / "sound.mp4"))


def test_wav_is_read_exactly(tmp_path):
    samples = tone(3333)
    path = write_wav(tmp_path / "a.wav", samples)
    waveform = load_audio(path)
    assert waveform.dtype == torch.float32
    expected = (samples * 32767).round() / 32768
    assert torch.equal(waveform, torch.from_numpy(expected.astype(np.float32)))


def test_channels_are_averaged(tmp_path):
    left, right = tone(2000), np.zeros(2000, np.float32)
    waveform = load_audio(write_wav(tmp_path / "a.wav", np.stack([left, right], axis=1)))
    assert np.abs(waveform.numpy() - left / 2).max() < 1e-4


@pytest.mark.parametrize("seed", range(8))
def test_random_damage_is_a_media_error_or_none(tmp_path, seed):
    rng = np.random.default_rng(seed)
    video = write_video(tmp_path / "a.mp4", moving_bar(10), waveform=tone(6400))
    sound = write_wav(tmp_path / "a.wav", tone(6400))
    for path, num_places in ((video, len(video.read_bytes())), (sound, 44)):
        content = bytearray(path.read_bytes())
        for _ in range(20):
            content[rng.integers(num_places)] = rng.integers(256)
        path.write_bytes(content)
    for load in (
        lambda: load_video(video, 10),
        lambda: load_audio(sound),
        lambda: load_audio(tmp_path / "-", video),
    ):
        with suppress(MediaError):
            assert load().numel() > 0


@pytest.mark.parametrize("rate_hz", [8_000, 11_025, 44_100, 48_000])
def test_rates_are_resampled(tmp_path, rate_hz):
    waveform = load_audio(write_wav(tmp_path / "a.wav", tone(rate_hz, rate_hz=rate_hz), rate_hz))
    assert len(waveform) == 16_000
    assert np.abs(waveform.numpy() - tone(16_000))[500:-500].max() < 0.01


def test_the_video_lends_its_track(tmp_path):
    sound = tone(40 * 640)
    video = write_video(tmp_path / "a.mp4", moving_bar(40), waveform=sound)
    waveform = load_audio(tmp_path / "a.wav", video, 40)
    assert abs(len(waveform) - len(sound)) <= 2048
    similarity = np.corrcoef(waveform[4000:20_000], sound[4000:20_000])[0, 1]
    assert similarity > 0.99
    write_wav(tmp_path / "a.wav", np.zeros(40 * 640))
    assert load_audio(tmp_path / "a.wav", video, 40).abs().max() == 0, "the wav comes first"


def test_broken_sound_is_a_media_error(tmp_path):
    whole = write_wav(tmp_path / "whole.wav", tone(16_000)).read_bytes()
    (tmp_path / "cut_short.wav").write_bytes(whole[:10_000])
    (tmp_path / "text.wav").write_bytes(b"this is no sound" * 100)
    (tmp_path / "empty.wav").write_bytes(b"")
    write_wav(tmp_path / "silent.wav", np.zeros(0))
    for name in ("cut_short", "text", "empty", "silent", "nowhere"):
        with pytest.raises(MediaError, match=name):
            load_audio(tmp_path / f"{name}.wav")
    video = write_video(tmp_path / "mute.mp4", moving_bar(5))
    with pytest.raises(MediaError, match=r"mute\.mp4: found no sound track"):
        load_audio(tmp_path / "mute.wav", video)
    write_wav(tmp_path / "odd.wav", tone(1000), rate_hz=16_001)
    with pytest.raises(MediaError, match=r"odd\.wav: found a sampling rate of 16001 Hz"):
        load_audio(tmp_path / "odd.wav")
    with pytest.raises(MediaError, match=r"25\.0 video frames, the label promises 60"):
        load_audio(tmp_path / "whole.wav", num_frames=60)
