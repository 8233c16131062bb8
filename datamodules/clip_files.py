"""Writing one clip: a grey H.264 mp4 without sound, and a 16 kHz wav beside it.

Files appear under their names only when they are whole. Letters: T frames, H and W pixels, N samples.
"""

from __future__ import annotations

import wave
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np

from datamodules.batch import SAMPLE_RATE_HZ, SAMPLES_PER_VIDEO_FRAME, VIDEO_FPS
from datamodules.files import whole_or_nothing


@dataclass(frozen=True)
class Encoding:
    """How closely H.264 keeps to the pixels."""

    crf: int
    """x264's constant rate factor: lower is better and larger."""
    preset: str


MOUTHS = Encoding(crf=16, preset="medium")
"""Mouths are small and are looked at closely."""
DRAWINGS = Encoding(crf=26, preset="veryfast")


def write_video(path: Path, frames: np.ndarray, encoding: Encoding = MOUTHS) -> None:
    """Write `frames` [T, H, W] uint8 (grey, full range) as H.264 at 25 fps.

    An odd side loses its last row or column, which H.264 cannot hold.
    """
    height, width = (side - side % 2 for side in frames.shape[1:])
    # Without x264's macroblock tree: with it equal frames now and then give other bytes, even on one thread.
    options = {"crf": str(encoding.crf), "preset": encoding.preset, "mbtree": "0"}
    with whole_or_nothing(path) as temporary, av.open(str(temporary), "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=VIDEO_FPS, options=options)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        # One thread: the bytes then do not depend on the machine.
        stream.codec_context.thread_count = 1
        for frame in np.ascontiguousarray(frames[:, :height, :width]):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="gray")))
        container.mux(stream.encode())


def write_waveform(path: Path, waveform: np.ndarray) -> None:
    """Write `waveform` [N] float32 in [-1, 1] as 16 kHz mono 16-bit wav."""
    samples = (waveform.clip(-1, 1) * 32767).round().astype("<i2")
    with whole_or_nothing(path) as temporary, wave.open(str(temporary), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(SAMPLE_RATE_HZ)
        file.writeframes(samples.tobytes())


def num_video_frames(num_samples: int) -> int:
    """Frames that cover `num_samples` samples; the last may reach past them."""
    return -(-num_samples // SAMPLES_PER_VIDEO_FRAME)


def padded_to_frames(waveform: np.ndarray, num_frames: int) -> np.ndarray:
    """`waveform` [N], cut or followed by zeros: [num_frames * 640]."""
    length = num_frames * SAMPLES_PER_VIDEO_FRAME
    kept = waveform[:length]
    return np.pad(kept, (0, length - len(kept)))
