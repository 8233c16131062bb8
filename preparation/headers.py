"""How long clips are, from the headers of their files: nothing is decoded.

Lengths are in 16 kHz samples and in 25 fps frames.
"""

from __future__ import annotations

import math
import wave
from dataclasses import dataclass
from pathlib import Path

import av

from datamodules.batch import SAMPLE_RATE_HZ, SAMPLES_PER_VIDEO_FRAME, VIDEO_FPS, Utterance
from datamodules.media import (
    AUDIO_TOLERANCE_FRAMES,
    AUDIO_TOLERANCE_SHARE,
    NUM_FRAMES_TOLERANCE,
    MediaError,
    reading,
)


@dataclass(frozen=True)
class VideoHeader:
    """What a video says about itself; `num_frames` at 25 fps."""

    num_frames: int
    width: int
    height: int


def read_header(path: Path) -> VideoHeader:
    """Read a video's header and, where that does not tell the length, its packets' timestamps.

    Raises:
        MediaError: missing, broken, without video.
    """
    with reading(path, "read"), av.open(str(path), metadata_errors="ignore") as container:
        if not container.streams.video:
            raise MediaError(f"{path}: expected a video, found no video track")
        stream = container.streams.video[0]
        if stream.codec_context is None:
            raise MediaError(f"{path}: its video is in a coding that ffmpeg does not know")
        size = stream.codec_context.width, stream.codec_context.height
        return VideoHeader(_num_frames(path, container, stream), *size)


def num_video_frames(path: Path) -> int:
    """Length in frames of 25 fps. Raises MediaError."""
    return read_header(path).num_frames


def num_audio_samples(path: Path) -> int | None:
    """Samples at 16 kHz that the header of a sound file, or of a video's own track, promises.

    None where a video has no sound. Raises MediaError.
    """
    with reading(path, "read"):
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


def _num_frames(path: Path, container: av.container.InputContainer, stream: av.VideoStream) -> int:
    if stream.frames and stream.average_rate:
        return max(1, math.floor(stream.frames / stream.average_rate * VIDEO_FPS + 0.5))
    times = [
        float(packet.pts * packet.time_base) for packet in container.demux(stream) if packet.pts is not None
    ]
    if not times:
        raise MediaError(f"{path}: expected a video, found no frame")
    length = max(times) - min(times)
    last = length / (len(times) - 1) if len(times) > 1 else 1 / VIDEO_FPS
    return max(1, math.floor((length + last) * VIDEO_FPS + 0.5))


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
