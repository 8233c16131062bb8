"""The files of a clip: `STEM.mp4` (grey, 25 fps, no sound), `STEM.wav` (16 kHz) and its text.

Each appears under its name only when it is whole; the video comes last.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from datamodules.batch import SAMPLES_PER_VIDEO_FRAME
from datamodules.files import write_whole
from datamodules.media.writing import padded_to_frames, write_video, write_waveform


def write_clip(
    video_path: Path, text_path: Path, frames: np.ndarray, waveform: np.ndarray | None, text: str | None
) -> None:
    """Write a clip's files. frames: uint8 [T, H, W]; waveform: float32 [640 * T] or None; text or None."""
    if text is not None:
        write_text(text_path, text)
    if waveform is not None:
        write_waveform(video_path.with_suffix(".wav"), waveform)
    write_video(video_path, frames)


def write_text(path: Path, text: str) -> None:
    """One line, unless it already exists."""
    content = f"{text}\n"
    try:
        if path.read_text(encoding="utf-8") == content:
            return
    except (OSError, UnicodeDecodeError):
        pass
    write_whole(path, content)


def sound_of(waveform: np.ndarray, start_frame: int, end_frame: int) -> np.ndarray:
    """Samples of frames `[start, end)`, followed by zeros where the sound ends earlier: [640 * frames]."""
    return padded_to_frames(waveform[start_frame * SAMPLES_PER_VIDEO_FRAME :], end_frame - start_frame)


def remove_clips(video_paths: Iterable[Path], text_paths: Iterable[Path]) -> None:
    """Remove what an earlier run made of other inputs."""
    for video in video_paths:
        for path in (video, video.with_suffix(".wav")):
            path.unlink(missing_ok=True)
    for path in text_paths:
        path.unlink(missing_ok=True)
