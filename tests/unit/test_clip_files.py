"""Writing clips."""

import wave

import av
import numpy as np
import pytest

from datamodules.files import whole_or_nothing
from datamodules.media.writing import num_video_frames, padded_to_frames, write_video, write_waveform


def ramp(num_frames: int) -> np.ndarray:
    """[T, 96, 96] uint8: a horizontal ramp over the whole range that gets brighter."""
    across = np.linspace(0, 200, 96)[None, None] + np.linspace(0, 55, num_frames)[:, None, None]
    return np.broadcast_to(across, (num_frames, 96, 96)).astype(np.uint8)


def test_a_video_comes_back(tmp_path):
    path = tmp_path / "deep" / "clip.mp4"
    frames = ramp(31)
    write_video(path, frames)
    with av.open(str(path)) as container:
        assert not container.streams.audio
        stream = container.streams.video[0]
        assert stream.codec_context.name == "h264"
        assert stream.average_rate == 25
        decoded = np.stack([frame.to_ndarray(format="gray") for frame in container.decode(stream)])
    assert decoded.shape == frames.shape
    error = decoded.astype(int) - frames
    assert abs(error.mean()) < 2
    assert np.abs(error).mean() < 3


def test_the_same_frames_give_the_same_bytes(tmp_path):
    # With x264's macroblock tree this fails now and then.
    noise = np.random.default_rng(0).normal(0, 5, (45, 96, 96))
    frames = (ramp(45) * 0.9 + 10 + noise).clip(0, 255).astype(np.uint8)
    written = set()
    for index in range(8):
        write_video(tmp_path / f"{index}.mp4", frames)
        written.add((tmp_path / f"{index}.mp4").read_bytes())
    assert len(written) == 1


def test_a_waveform_comes_back(tmp_path):
    waveform = np.linspace(-1.5, 1.5, 1280, dtype=np.float32)
    write_waveform(tmp_path / "a.wav", waveform)
    with wave.open(str(tmp_path / "a.wav")) as file:
        assert file.getparams()[:4] == (1, 2, 16000, 1280)
        samples = np.frombuffer(file.readframes(1280), dtype="<i2")
    assert np.abs(samples / 32767 - waveform.clip(-1, 1)).max() < 1e-4


def test_a_failure_leaves_nothing(tmp_path):
    kept = tmp_path / "kept.txt"
    kept.write_text("before")

    def fail_half_way():
        with whole_or_nothing(kept) as temporary:
            temporary.write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail_half_way()
    assert [path.name for path in tmp_path.iterdir()] == ["kept.txt"]
    assert kept.read_text() == "before"


@pytest.mark.parametrize(("num_samples", "num_frames"), [(1, 1), (640, 1), (641, 2), (6400, 10)])
def test_frames_cover_the_samples(num_samples, num_frames):
    assert num_video_frames(num_samples) == num_frames
    padded = padded_to_frames(np.ones(num_samples, dtype=np.float32), num_frames)
    assert len(padded) == 640 * num_frames
    assert padded.sum() == num_samples


def test_long_waveforms_are_cut():
    assert len(padded_to_frames(np.ones(2000, dtype=np.float32), 2)) == 1280
