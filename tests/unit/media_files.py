"""Media and label files made for the tests."""

from __future__ import annotations

import wave
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

FULL_RANGE, LIMITED_RANGE = 2, 1
BT601, BT709 = 5, 1


def moving_bar(num_frames: int, side: int = 96, seed: int = 0) -> np.ndarray:
    """RGB frames uint8 [T, H, W, 3]: a reddish square moving to the right, on a noisy grey ground."""
    rng = np.random.default_rng(seed)
    frames = np.full((num_frames, side, side, 3), 90, dtype=np.uint8)
    frames += rng.integers(0, 4, frames.shape, dtype=np.uint8)
    for t in range(num_frames):
        left = 10 + 3 * t % (side - 40)
        frames[t, 30:60, left : left + 30] = (200, 90, 80)
    return frames


def write_video(
    path: Path,
    frames: np.ndarray,
    fps: Fraction | int = 25,
    times_ms: list[int] | None = None,
    color_range: int = LIMITED_RANGE,
    colorspace: int = BT601,
    waveform: np.ndarray | None = None,
    movflags: str = "",
) -> Path:
    """H.264 in mp4 of RGB frames [T, H, W, 3]; `times_ms` places frames by hand, `waveform` adds AAC."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w", options={"movflags": movflags} if movflags else {}) as container:
        video = container.add_stream("libx264", rate=fps, options={"crf": "8", "threads": "1", "bf": "0"})
        video.height, video.width = frames.shape[1:3]
        video.pix_fmt = "yuv420p"
        video.codec_context.color_range = color_range
        video.codec_context.colorspace = colorspace
        if times_ms is not None:
            video.codec_context.time_base = Fraction(1, 1000)
        sound = container.add_stream("aac", rate=16_000, layout="mono") if waveform is not None else None
        for t, image in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24").reformat(
                format="yuv420p",
                dst_colorspace=colorspace,
                dst_color_range=color_range,
                src_color_range=FULL_RANGE,
            )
            frame.pts = t if times_ms is None else times_ms[t]
            frame.time_base = 1 / Fraction(fps) if times_ms is None else Fraction(1, 1000)
            container.mux(video.encode(frame))
        container.mux(video.encode())
        if sound is not None:
            chunk = av.AudioFrame.from_ndarray(
                waveform[None].astype(np.float32), format="fltp", layout="mono"
            )
            chunk.sample_rate, chunk.pts, chunk.time_base = 16_000, 0, Fraction(1, 16_000)
            container.mux(sound.encode(chunk))
            container.mux(sound.encode())
    return path


def write_wav(path: Path, samples: np.ndarray, rate_hz: int = 16_000) -> Path:
    """PCM16; `samples` in -1..1, [N] or [N, channels]."""
    path.parent.mkdir(parents=True, exist_ok=True)
    samples = samples[:, None] if samples.ndim == 1 else samples
    with wave.open(str(path), "wb") as file:
        file.setnchannels(samples.shape[1])
        file.setsampwidth(2)
        file.setframerate(rate_hz)
        file.writeframes((samples * 32767).round().astype("<i2").tobytes())
    return path


def tone(num_samples: int, frequency_hz: float = 440.0, rate_hz: int = 16_000) -> np.ndarray:
    return (0.5 * np.sin(2 * np.pi * frequency_hz * np.arange(num_samples) / rate_hz)).astype(np.float32)


def write_corpus(root_dir: Path, lengths: list[int], name: str = "train.csv", video: bool = True) -> Path:
    """A data set of clips of these numbers of frames, with its label file; returns the label file."""
    folder = "toy_video_seg24s/main"
    lines = []
    for i, num_frames in enumerate(lengths):
        stem = root_dir / "toy" / folder / f"{i:04d}"
        if video:
            write_video(stem.with_suffix(".mp4"), moving_bar(num_frames, seed=i))
        write_wav(stem.with_suffix(".wav"), tone(640 * num_frames, 200 + 10 * i))
        lines.append(f"toy,{folder}/{i:04d}.mp4,{num_frames},1 2 3,clip number {i}\n")
    path = root_dir / "labels" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(lines))
    return path
