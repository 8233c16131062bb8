"""Writing one clip: a grey H.264 mp4 without sound, and a 16 kHz wav beside it.

Files appear under their names only when they are whole.
"""

from __future__ import annotations

import os
import wave
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import av
import numpy as np

from datamodules.batch import SAMPLE_RATE_HZ, SAMPLES_PER_VIDEO_FRAME, VIDEO_FPS

# Without x264's macroblock tree: with it equal frames now and then give other bytes, even on one thread.
_ENCODER_OPTIONS = {"preset": "veryfast", "mbtree": "0"}
DEMO_CRF = 26
"""x264's constant rate factor: lower is better and larger."""


@contextmanager
def whole_or_nothing(path: Path) -> Iterator[Path]:
    """A temporary path beside `path`, renamed to it when the block ends well and removed when not."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_video(path: Path, frames: np.ndarray, crf: int = DEMO_CRF) -> None:
    """Write `frames` [T, H, W] uint8 (grey, full range) as H.264 at 25 fps; H and W even."""
    _, height, width = frames.shape
    with whole_or_nothing(path) as temporary, av.open(str(temporary), "w", format="mp4") as container:
        stream = container.add_stream(
            "libx264", rate=VIDEO_FPS, options={"crf": str(crf), **_ENCODER_OPTIONS}
        )
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        # One thread: the bytes then do not depend on the machine.
        stream.codec_context.thread_count = 1
        for frame in frames:
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
