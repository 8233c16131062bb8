"""How long clips are, from the headers of their files: nothing is decoded.

Lengths are in 16 kHz samples and in 25 fps frames.
"""

from __future__ import annotations

import math
import wave
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import av

from datamodules.batch import SAMPLE_RATE_HZ, SAMPLES_PER_VIDEO_FRAME, VIDEO_FPS, Utterance
from datamodules.media import (
    AUDIO_TOLERANCE_FRAMES,
    AUDIO_TOLERANCE_SHARE,
    NUM_FRAMES_TOLERANCE,
    MediaError,
)


def num_video_frames(path: Path) -> int:
    """Frames at 25 fps that the header of a video promises. Raises MediaError."""
    with _reading(path), av.open(str(path), metadata_errors="ignore") as container:
        if not container.streams.video:
            raise MediaError(f"{path}: expected a video, found no video track")
        stream = container.streams.video[0]
        if stream.frames and stream.average_rate:
            seconds = float(stream.frames / stream.average_rate)
        else:
            seconds = _seconds(path, container, stream)
    return max(1, math.floor(seconds * VIDEO_FPS + 0.5))


def num_audio_samples(path: Path) -> int | None:
    """Samples at 16 kHz that the header of a sound file, or of a video's own track, promises.

    None where a video has no sound. Raises MediaError.
    """
    with _reading(path):
        if (found := _wav_samples(path)) is not None:
            return found
        with av.open(str(path), metadata_errors="ignore") as container:
            if not container.streams.audio:
                return None
            return round(_seconds(path, container, container.streams.audio[0]) * SAMPLE_RATE_HZ)


def frames_problem(utterance: Utterance, num_frames: int) -> str | None:
    """Why a video of `num_frames` would not be taken for this clip; None where it would.

    A label may be off by a frame or two, but runs of units must each have their frames.
    """
    shortest = utterance.num_frames - (0 if utterance.run_lengths else NUM_FRAMES_TOLERANCE)
    if shortest <= num_frames <= utterance.num_frames + NUM_FRAMES_TOLERANCE:
        return None
    return f"expected {utterance.num_frames} frames of 25 fps, found {num_frames} in {utterance.video_path}"


def sound_problem(utterance: Utterance, num_samples: int, path: Path) -> str | None:
    """Why sound of `num_samples` at 16 kHz would not be taken for this clip; None where it would."""
    found = num_samples / SAMPLES_PER_VIDEO_FRAME
    tolerance = max(AUDIO_TOLERANCE_FRAMES, AUDIO_TOLERANCE_SHARE * utterance.num_frames)
    if abs(found - utterance.num_frames) <= tolerance:
        return None
    return f"expected sound of {utterance.num_frames} video frames, found {found:.1f} in {path}"


def _wav_samples(path: Path) -> int | None:
    """None where the file is no plain PCM wav, or does not know its own length."""
    if path.suffix.lower() != ".wav":
        return None
    try:
        with wave.open(str(path), "rb") as file:
            num_channels, width, rate_hz, num_samples = file.getparams()[:4]
    except (wave.Error, EOFError, RuntimeError):
        return None
    if not rate_hz or num_samples * num_channels * width > path.stat().st_size:
        return None
    return math.ceil(num_samples * SAMPLE_RATE_HZ / rate_hz)


def _seconds(path: Path, container: av.container.InputContainer, stream: av.stream.Stream) -> float:
    if stream.duration is not None and stream.time_base is not None:
        return float(stream.duration * stream.time_base)
    if container.duration is not None:
        return container.duration / av.time_base
    raise MediaError(f"{path}: its header does not say how long it is")


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    try:
        yield
    except MediaError:
        raise
    except (av.FFmpegError, OSError, ValueError) as error:
        raise MediaError(f"{path}: cannot be read ({type(error).__name__}: {error})") from error
