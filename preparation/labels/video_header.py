"""The length of a video without decoding it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import av

from datamodules.batch import VIDEO_FPS
from datamodules.media import MediaError


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
    try:
        with av.open(str(path), metadata_errors="ignore") as container:
            if not container.streams.video:
                raise MediaError(f"{path}: expected a video, found no video track")
            stream = container.streams.video[0]
            if stream.codec_context is None:
                raise MediaError(f"{path}: its video is in a coding that ffmpeg does not know")
            size = stream.codec_context.width, stream.codec_context.height
            return VideoHeader(_num_frames(path, container, stream), *size)
    except FileNotFoundError:
        raise MediaError(f"{path}: no such file") from None
    except (av.FFmpegError, OSError) as error:
        raise MediaError(f"{path}: cannot be opened ({type(error).__name__}: {error})") from error


def num_video_frames(path: Path) -> int:
    """Length in frames of 25 fps. Raises MediaError."""
    return read_header(path).num_frames


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
