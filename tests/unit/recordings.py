"""Recordings as people have them, made for the tests: several tracks, joined, damaged, odd clocks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.stream import Disposition


def bursts(seconds: float, rate_hz: int = 16_000) -> np.ndarray:
    """Half a second of a tone in every second."""
    t = np.arange(round(seconds * rate_hz)) / rate_hz
    return (0.3 * np.sin(2 * np.pi * 440 * t) * (t % 1.0 < 0.5)).astype(np.float32)


def write_sound(
    path: Path,
    tracks: Sequence[np.ndarray],
    codec: str = "pcm_s16le",
    rate_hz: int = 16_000,
    container: str | None = None,
    default: int | None = None,
    start_s: float = 0.0,
) -> Path:
    """Tracks of float samples [n] or [channels, n]; `default` is the one marked so."""
    with av.open(str(path), "w", format=container) as file:
        streams = []
        for index, samples in enumerate(tracks):
            layout = {1: "mono", 2: "stereo"}[len(np.atleast_2d(samples))]
            streams.append(file.add_stream(codec, rate=rate_hz, layout=layout))
            if default is not None:
                streams[-1].disposition = Disposition.default if index == default else Disposition(0)
        for stream, samples in zip(streams, tracks, strict=True):
            for frame in _sound_frames(np.atleast_2d(samples), rate_hz, round(start_s * rate_hz)):
                file.mux(stream.encode(frame))
            file.mux(stream.encode(None))
    return path


def _sound_frames(samples: np.ndarray, rate_hz: int, start: int) -> Iterator[av.AudioFrame]:
    layout = "mono" if len(samples) == 1 else "stereo"
    for i in range(0, samples.shape[1], 1024):
        part = np.ascontiguousarray(samples[:, i : i + 1024], dtype=np.float32)
        frame = av.AudioFrame.from_ndarray(part, format="fltp", layout=layout)
        frame.sample_rate, frame.pts, frame.time_base = rate_hz, start + i, Fraction(1, rate_hz)
        yield frame


def write_ts(path: Path, frames: np.ndarray, first: int = 0, gop: int = 250) -> Path:
    """A transport stream of RGB frames [T, H, W, 3]; `first` counts on another's clock."""
    with av.open(str(path), "w", format="mpegts") as file:
        options = {"bf": "0", "g": str(gop), "keyint_min": str(gop), "sc_threshold": "0"}
        stream = file.add_stream("libx264", rate=25, options=options)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuv420p"
        for t, image in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts = first + t
            file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
    return path


def write_gap(path: Path, ticks: Sequence[int]) -> Path:
    """A black mouth clip whose frames are shown at these times, in 1/25 s."""
    with av.open(str(path), "w") as file:
        stream = file.add_stream("libx264", rate=25)
        stream.width = stream.height = 96
        stream.pix_fmt = "yuv420p"
        stream.codec_context.time_base = Fraction(1, 25)
        for tick in ticks:
            frame = av.VideoFrame.from_ndarray(np.zeros((96, 96), np.uint8), format="gray")
            frame.pts, frame.time_base = tick, Fraction(1, 25)
            file.mux(stream.encode(frame))
        file.mux(stream.encode())
    return path


def write_float_wav(path: Path, samples: np.ndarray, rate_hz: int = 16_000) -> Path:
    """32-bit floats, written by hand: what no encoder would write is wanted."""
    data = samples.astype("<f4").tobytes()
    header = np.array([16, 0x00010003, rate_hz, rate_hz * 4 % 2**32, 0x00200004], dtype="<u4").tobytes()
    chunks = b"WAVEfmt " + header + b"data" + np.uint32(len(data)).tobytes() + data
    path.write_bytes(b"RIFF" + np.uint32(len(chunks)).tobytes() + chunks)
    return path


def bend(path: Path, mark: bytes, start: int, length: int) -> None:
    """Overwrite some bytes of the packet in the middle, `start` behind its mark."""
    content = bytearray(path.read_bytes())
    place = content.index(mark, len(content) // 2) + start
    content[place : place + length] = bytes(i * 37 % 256 for i in range(length))
    path.write_bytes(bytes(content))
