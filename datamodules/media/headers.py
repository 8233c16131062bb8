"""How long clips are, from the headers of their files: nothing is decoded.

Lengths are in 16 kHz samples and in 25 fps frames.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import av

from datamodules.batch import SAMPLE_RATE_HZ, SAMPLES_PER_VIDEO_FRAME, VIDEO_FPS, Utterance
from datamodules.media import wav
from datamodules.media.opening import (
    MediaError,
    check_regular,
    decoder_of,
    opened,
    pictures_of,
    reading,
    sounds_of,
)
from datamodules.media.packed import num_bytes
from datamodules.media.pictures import NUM_FRAMES_TOLERANCE
from datamodules.media.sound import tolerated


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
    with opened(path, "read") as container:
        pictures = pictures_of(container)
        if not pictures:
            raise MediaError(f"{path}: expected a video, found no video track")
        decoder = decoder_of(path, pictures[0])
        return VideoHeader(_num_frames(path, container, pictures[0]), decoder.width, decoder.height)


def num_video_frames(path: Path) -> int:
    """Length in frames of 25 fps. Raises MediaError."""
    return read_header(path).num_frames


def num_audio_samples(path: Path) -> int | None:
    """Samples at 16 kHz that the header of a sound file, or of a video's own track, promises.

    None where a video has no sound. Raises MediaError.
    """
    with reading(path, "read"):
        check_regular(path)
        header = wav.read_header(path)
        if header is not None and header.num_bytes <= num_bytes(path):
            return math.ceil(header.num_samples * SAMPLE_RATE_HZ / header.rate_hz)
    with opened(path, "read") as container:
        sounds = sounds_of(container)
        return round(_seconds(path, container, sounds[0]) * SAMPLE_RATE_HZ) if sounds else None


def duration_seconds(path: Path) -> float | None:
    """What a recording's header says; None where it says nothing, or there is none."""
    try:
        with opened(path, "read") as container:
            return container.duration / av.time_base if container.duration else None
    except MediaError:
        return None


def packet_seconds(path: Path) -> float:
    """How long the longest track of a recording is by its packets; what cannot be read counts as nothing.

    Nothing is decoded, and no header believed. 0 for what is no recording.
    """
    sums: dict[int, float] = {}
    first: dict[int, float] = {}
    longest = 0.0
    try:
        with opened(path) as container:
            for packet in container.demux(*container.streams.audio, *container.streams.video):
                if packet.time_base is None:
                    continue
                index = packet.stream.index
                sums[index] = sums.get(index, 0.0) + float((packet.duration or 0) * packet.time_base)
                if packet.pts is not None:
                    time = float(packet.pts * packet.time_base)
                    longest = max(longest, time - first.setdefault(index, time))
    except MediaError:
        pass  # whoever reads it says so
    return max(longest, *sums.values(), 0.0)


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
    if abs(found - utterance.num_frames) <= tolerated(utterance.num_frames):
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


def _seconds(path: Path, container: av.container.InputContainer, stream: av.stream.Stream) -> float:
    if stream.duration is not None and stream.time_base is not None:
        return float(stream.duration * stream.time_base)
    if container.duration is not None:
        return container.duration / av.time_base
    raise MediaError(f"{path}: its header does not say how long it is")
