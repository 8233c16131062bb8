"""The files of a clip: `STEM.mp4` (grey, 25 fps, no sound), `STEM.wav` (16 kHz) and its text.

Each appears under its name only when it is whole; the video comes last.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import av
import numpy as np

from datamodules.batch import SAMPLES_PER_VIDEO_FRAME, VIDEO_FPS
from datamodules.demo.clips import whole_or_nothing, write_waveform

# Mouths are small and are looked at closely. One thread: processes share the cores, and bytes stay the same.
ENCODER_OPTIONS = {"crf": "16", "preset": "medium", "mbtree": "0"}
KEYFRAME_INTERVAL = 250


def write_clip(
    video_path: Path, text_path: Path, frames: np.ndarray, waveform: np.ndarray | None, text: str | None
) -> None:
    """Write a clip's files. frames: uint8 [T, H, W]; waveform: float32 [640 * T] or None; text or None."""
    if text is not None:
        write_text(text_path, text)
    if waveform is not None:
        write_waveform(video_path.with_suffix(".wav"), waveform)
    write_grey_video(video_path, frames)


def write_text(path: Path, text: str) -> None:
    """One line, unless it is there already."""
    content = f"{text}\n"
    try:
        if path.read_text(encoding="utf-8") == content:
            return
    except (OSError, UnicodeDecodeError):
        pass
    with whole_or_nothing(path) as temporary:
        temporary.write_text(content, encoding="utf-8")


def write_grey_video(path: Path, frames: np.ndarray) -> None:
    """H.264 of uint8 [T, H, W]. An odd side loses its last row or column, which H.264 cannot hold."""
    height, width = (side - side % 2 for side in frames.shape[1:])
    with whole_or_nothing(path) as temporary, av.open(str(temporary), "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=VIDEO_FPS, options=ENCODER_OPTIONS)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.gop_size = KEYFRAME_INTERVAL
        stream.codec_context.thread_count = 1
        for frame in np.ascontiguousarray(frames[:, :height, :width]):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="gray")))
        container.mux(stream.encode())


def sound_of(waveform: np.ndarray, start_frame: int, end_frame: int) -> np.ndarray:
    """Samples of frames `[start, end)`, followed by zeros where the sound ends earlier: [640 * frames]."""
    start, end = (SAMPLES_PER_VIDEO_FRAME * frame for frame in (start_frame, end_frame))
    kept = waveform[start:end]
    return np.pad(kept, (0, end - start - len(kept)))


def remove_clips(video_paths: Iterable[Path], text_paths: Iterable[Path]) -> None:
    """Remove what an earlier run made of other inputs."""
    for video in video_paths:
        for path in (video, video.with_suffix(".wav")):
            path.unlink(missing_ok=True)
    for path in text_paths:
        path.unlink(missing_ok=True)
