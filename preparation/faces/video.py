"""Reading recordings as they come: any container, size and frame rate, as RGB frames at 25 per second.

Letters: T video frames, H and W pixels of the picture as it is shown.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.sidedata.sidedata import Type as SideData
from av.stream import Disposition
from av.video.reformatter import ColorRange, Colorspace, VideoReformatter

from datamodules.batch import VIDEO_FPS
from datamodules.media import MediaError, is_full_range, reading

CHUNK_BYTES = 24 * 2**20
"""RGB frames held at once: 4 of 1080p. Larger pieces of memory are given back each time, which is slow."""
MAX_CHUNK_FRAMES = 100
TRUNCATED_SHARE = 0.05
TRUNCATED_SECONDS = 0.5
"""A video that ends earlier than it promises by more than both counts as truncated."""


def frame_chunks(path: Path) -> Iterator[np.ndarray]:
    """The video at 25 fps, as it is shown: uint8 [n, H, W, 3] RGB at full range, some frames at a time.

    Frames are placed by their timestamps (nearest frame, the first is time zero), the picture is turned as
    its display matrix says and its pixels are made square. Memory does not grow with the length.

    Raises:
        MediaError: missing, broken, truncated, no video.
    """
    chunk: list[np.ndarray] = []
    for picture in _at_25_fps(_pictures(path)):
        chunk.append(picture)
        if len(chunk) >= min(MAX_CHUNK_FRAMES, max(1, CHUNK_BYTES // picture.nbytes)):
            yield np.stack(chunk)
            chunk = []
    if chunk:
        yield np.stack(chunk)


def first_time(path: Path) -> float:
    """Seconds on the file's own clock at which its first frame is shown; sound is placed by it."""
    with _opened(path) as (container, stream):
        return next((frame.time or 0.0 for frame in container.decode(stream)), 0.0)


def duration_seconds(path: Path) -> float | None:
    """What the file's header says; None where it says nothing. Reads no frame."""
    try:
        with av.open(str(path), metadata_errors="ignore") as container:
            return container.duration / av.time_base if container.duration else None
    except (av.FFmpegError, OSError, ValueError):
        return None


@contextmanager
def _opened(path: Path) -> Iterator[tuple[av.container.InputContainer, av.VideoStream]]:
    with reading(path), av.open(str(path), metadata_errors="ignore") as container:
        videos = [s for s in container.streams.video if not s.disposition & Disposition.attached_pic]
        if not videos:
            found = "only sound" if container.streams.audio else "neither video nor sound"
            raise MediaError(f"{path}: expected a video, found {found}")
        stream = videos[0]
        if stream.codec_context is None:
            raise MediaError(f"{path}: its video is in a coding that ffmpeg does not know")
        # Videos are prepared by as many processes as there are cores.
        stream.codec_context.thread_type, stream.codec_context.thread_count = "NONE", 1
        yield container, stream


class _Picture:
    """A decoded frame and its time; turned into RGB only where it is shown."""

    def __init__(self, frame: av.VideoFrame, seconds: float, to_rgb: _RgbConverter) -> None:
        self.seconds = seconds
        self._frame, self._to_rgb = frame, to_rgb
        self._rgb: np.ndarray | None = None

    def rgb(self) -> np.ndarray:
        if self._rgb is None:
            self._rgb = self._to_rgb(self._frame)
        return self._rgb


def _pictures(path: Path) -> Iterator[_Picture]:
    """All frames in order, times in seconds from the first and always increasing."""
    with _opened(path) as (container, stream):
        to_rgb = _RgbConverter(stream.sample_aspect_ratio)
        seconds_per_frame = float(1 / stream.average_rate) if stream.average_rate else 1 / VIDEO_FPS
        first = last = size = None
        for frame in _decoded(path, container, stream):
            if frame.is_corrupt and first is None:
                continue  # a recording that begins between two key frames
            if size not in (None, (frame.width, frame.height)):
                raise MediaError(f"{path}: expected frames of one size, found {size} and then another")
            size = frame.width, frame.height
            time = frame.time
            if time is None:
                time = 0.0 if last is None else last + seconds_per_frame
            if last is not None and time <= last:
                continue  # two frames for one moment
            first, last = time if first is None else first, time
            yield _Picture(frame, time - first, to_rgb)
        if first is None:
            raise MediaError(f"{path}: expected a video, found no frame")
        _check_whole(path, stream, last - first)


def _decoded(
    path: Path, container: av.container.InputContainer, stream: av.VideoStream
) -> Iterator[av.VideoFrame]:
    """The stream's frames; says where decoding broke off."""
    seconds = 0.0
    try:
        for frame in container.decode(stream):
            seconds = frame.time or seconds
            yield frame
    except av.FFmpegError as error:
        promised = _promised_seconds(stream)
        of = f" of {promised:.1f}" if promised else ""
        raise MediaError(
            f"{path}: truncated or damaged, decoding broke off after {seconds:.1f}{of} s ({error})"
        ) from error


def _check_whole(path: Path, stream: av.VideoStream, found_seconds: float) -> None:
    """Some containers end without an error when they are cut short."""
    promised = _promised_seconds(stream)
    if promised is None:
        return
    missing = promised - found_seconds
    if missing > TRUNCATED_SECONDS and missing > TRUNCATED_SHARE * promised:
        raise MediaError(
            f"{path}: truncated, found {found_seconds:.1f} s of video where its header promises "
            f"{promised:.1f} s"
        )


def _promised_seconds(stream: av.VideoStream) -> float | None:
    if stream.duration is not None and stream.time_base is not None:
        return float(stream.duration * stream.time_base)
    hours, _, rest = stream.metadata.get("DURATION", "").partition(":")  # Matroska's tag, 00:00:10.06
    minutes, _, seconds = rest.partition(":")
    try:
        return int(hours) * 3600 + int(minutes) * 60 + float(seconds)
    except ValueError:
        return None


def _at_25_fps(pictures: Iterable[_Picture]) -> Iterator[np.ndarray]:
    """For 0, 1/25, 2/25, ... s the nearest frame; the last one lasts as long as frames do on average."""
    shown, count, previous = 0, 0, None
    for picture in pictures:
        if previous is not None:
            middle = (previous.seconds + picture.seconds) / 2
            while shown / VIDEO_FPS < middle:
                yield previous.rgb()
                shown += 1
        previous, count = picture, count + 1
    if previous is None:
        return
    end = previous.seconds * count / (count - 1) if count > 1 else 0.0
    for _ in range(shown, max(1, math.floor(end * VIDEO_FPS + 0.5))):
        yield previous.rgb()


class _RgbConverter:
    """Turns decoded frames into upright RGB pictures with square pixels, uint8 [H, W, 3]."""

    def __init__(self, sample_aspect_ratio: Fraction | None) -> None:
        self._reformatter = VideoReformatter()
        self._turn: tuple[bool, bool, bool] | None = None
        self._aspect = sample_aspect_ratio if sample_aspect_ratio and 0.2 < sample_aspect_ratio < 5 else 1

    def __call__(self, frame: av.VideoFrame) -> np.ndarray:
        converted = self._reformatter.reformat(
            frame,
            width=round(frame.width * self._aspect),
            height=frame.height,
            format="rgb24",
            src_colorspace=Colorspace.ITU709 if frame.colorspace == Colorspace.ITU709 else Colorspace.ITU601,
            src_color_range=ColorRange.JPEG if is_full_range(frame) else ColorRange.MPEG,
            dst_color_range=ColorRange.JPEG,
            threads=1,
        )
        if self._turn is None:
            # Asked of one frame only: a frame that was asked for its side data lives until the next garbage
            # collection, and hundreds of them fill the memory.
            self._turn = _turn(frame)
        swapped, mirror_x, mirror_y = self._turn
        picture = _view(converted)
        picture = picture.transpose(1, 0, 2) if swapped else picture
        return picture[:: -1 if mirror_y else 1, :: -1 if mirror_x else 1]


def _view(frame: av.VideoFrame) -> np.ndarray:
    """The pixels of an RGB frame, where they are."""
    plane = frame.planes[0]
    rows = np.frombuffer(plane, dtype=np.uint8).reshape(frame.height, plane.line_size)
    return rows[:, : frame.width * 3].reshape(frame.height, frame.width, 3)


def _turn(frame: av.VideoFrame) -> tuple[bool, bool, bool]:
    """Whether rows and columns are to be swapped, and then x and y mirrored, for an upright picture.

    Phones record portrait as landscape, and a display matrix says how to turn it.
    """
    side_data = frame.side_data.get(SideData.DISPLAYMATRIX)
    if side_data is None:
        return False, False, False
    # Shown x = a x + c y and y = b x + d y.
    (a, b, _), (c, d, _), _ = np.frombuffer(bytes(side_data), dtype=np.int32).reshape(3, 3).tolist()
    return (True, c < 0, b < 0) if abs(b) > abs(a) else (False, a < 0, d < 0)
