"""The pictures of a video: decoded once, for clips and for recordings, and placed at 25 per second.

Letters: T video frames, H and W pixels.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import torch
from torch import Tensor

from datamodules.batch import VIDEO_FPS
from datamodules.media.opening import MediaError, Skipped, decode, decoder_of, opened, pictures_of
from datamodules.media.pixels import Crop, ToGrey

MIN_SIDE = 88
"""Pixels; the network's crop."""
MAX_SIDE = 256
"""Pixels; the face image that mouths are cut from. A larger video is no mouth crop."""
MAX_PIXELS = 8192 * 8192
"""Of a recording's picture."""
NUM_FRAMES_TOLERANCE = 2
"""Frames by which a video may differ from its label: encoders drop or repeat a frame at the ends."""
MAX_CLIP_BYTES = 2 * 2**30
"""Of a clip whose length no label tells."""
MAX_GAP_SECONDS = 600.0
"""Between two frames; a longer gap is a jump of the clock."""
MAX_STEP_BACK_SECONDS = 1.0
"""Frames that come late by less are left out; by more, and the clock began again."""
TRUNCATED_SHARE, TRUNCATED_SECONDS = 0.05, 0.5
"""A recording that ends earlier than it promises by more than both counts as cut off."""

Check = Callable[[int, int], None]
"""Told width and height; raises MediaError for those that are not expected."""


class Picture:
    """A decoded frame and its time; turned into pixels only where it is shown, and then once."""

    def __init__(self, frame: av.VideoFrame, time: float, seconds: float, aspect: Fraction | None) -> None:
        self.time = time
        """On the file's own clock."""
        self.seconds = seconds
        """From the first frame."""
        self.aspect = aspect
        """Width of a pixel to its height, where the file says so."""
        self._frame = frame
        self._pixels: np.ndarray | None = None

    def pixels(self, convert: Callable[[av.VideoFrame], np.ndarray]) -> np.ndarray:
        if self._pixels is None:
            self._pixels = convert(self._frame)
        return self._pixels


def load_video(path: Path, num_frames: int | None = None, crop: Crop | None = None) -> Tensor:
    """Decode a mouth clip to grey frames, uint8 [T, H, W], full range (0 black, 255 white), 25 fps.

    Frames are placed by their timestamps, so that another frame rate, constant or not, is resampled to 25 fps
    (nearest frame); a 25 fps file gives its frames one to one. The first frame is time zero.

    `num_frames` is the length the label promises. A clip up to `NUM_FRAMES_TOLERANCE` longer is cut to it;
    one up to as much shorter is returned as it is (no frame is made up).
    crop: what is kept of every frame, before it is converted.

    Raises:
        MediaError: missing, broken, truncated, no video, not the size of a mouth crop, another length.
    """
    frames: list[np.ndarray] = []
    for frame in mouth_frames(path, crop=crop):
        frames.append(frame)
        if num_frames is not None and len(frames) > num_frames + NUM_FRAMES_TOLERANCE:
            # Said before the rest is decoded: a gap of hours costs gigabytes.
            raise MediaError(f"{path}: found more than the {num_frames} frames that the label promises")
        if len(frames) * frame.nbytes > MAX_CLIP_BYTES:
            raise MediaError(f"{path}: longer than a clip can be, found more than {len(frames)} frames")
    if num_frames is not None and len(frames) < num_frames - NUM_FRAMES_TOLERANCE:
        raise MediaError(f"{path}: found {len(frames)} frames of 25 fps, the label promises {num_frames}")
    return torch.from_numpy(np.stack(frames[:num_frames]))


def mouth_frames(
    path: Path, strict: bool = True, notes: list[str] | None = None, crop: Crop | None = None
) -> Iterator[np.ndarray]:
    """The frames of a mouth crop one by one, grey uint8 [H, W], at 25 fps. See `decoded`."""
    to_grey = ToGrey(crop)

    def check(width: int, height: int) -> None:
        if min(width, height) < MIN_SIDE or max(width, height) > MAX_SIDE:
            raise MediaError(
                f"{path}: found {width}x{height} pixels, expected a mouth crop (96x96; at least {MIN_SIDE} "
                f"and at most {MAX_SIDE} a side); prepare_data.py cuts mouths out of whole faces"
            )

    for picture in at_25_fps(decoded(path, strict=strict, notes=notes, check=check)):
        yield picture.pixels(to_grey)


def decoded(
    path: Path, *, strict: bool = False, notes: list[str] | None = None, check: Check | None = None
) -> Iterator[Picture]:
    """All frames of a video in order, their times always increasing.

    strict: a clip, in which anything odd is an error. If not, it is a recording: what cannot be decoded is
    skipped, pictures of another size are given (`ToRgb` scales them), a clock that jumps goes on.
    notes: what was gone over is told there, a cut-off end too; without it that is an error.

    Raises:
        MediaError: missing, broken, no video.
    """
    skipped = None if strict else Skipped()
    with opened(path) as container:
        stream = _track(path, container)
        decoder = decoder_of(path, stream)
        check = check or _check_pixels(path)
        check(decoder.width, decoder.height)
        clock = _Clock(path, stream, strict)
        size = None
        for frame in decode(container, stream, skipped):
            if frame.is_corrupt and strict:
                raise MediaError(f"{path}: frame {clock.count} is corrupt")
            if frame.is_corrupt and clock.first is None:
                continue  # a recording that begins between two key frames
            if size != (frame.width, frame.height):
                if strict and size is not None:
                    raise MediaError(f"{path}: expected frames of one size, found several")
                size, aspect = (frame.width, frame.height), stream.sample_aspect_ratio
                check(*size)
            seconds = clock.seconds(frame.time)
            if seconds is not None:
                yield Picture(frame, clock.time, seconds, aspect)
        if not clock.count:
            reason = f" ({skipped.first_error})" if skipped and skipped.count else ""
            raise MediaError(f"{path}: expected a video, found no frame{reason}")
        if skipped is not None:
            _tell(path, stream, clock, skipped, notes)


def first_time(path: Path) -> float:
    """Seconds on the file's own clock at which its first frame is shown; sound is placed by it."""
    pictures = decoded(path)
    try:
        return next(pictures).time
    finally:
        pictures.close()


def at_25_fps(pictures: Iterable[Picture]) -> Iterator[Picture]:
    """For 0, 1/25, 2/25, ... s the nearest picture; the last one lasts as long as frames do on average."""
    shown, count, previous = 0, 0, None
    for picture in pictures:
        if previous is not None:
            middle = (previous.seconds + picture.seconds) / 2
            while shown / VIDEO_FPS < middle:
                yield previous
                shown += 1
        previous, count = picture, count + 1
    if previous is None:
        return
    end = previous.seconds + previous.seconds / (count - 1) if count > 1 else 0.0
    for _ in range(shown, max(1, math.floor(end * VIDEO_FPS + 0.5))):
        yield previous


def _track(path: Path, container: av.container.InputContainer) -> av.VideoStream:
    videos = pictures_of(container)
    if not videos:
        found = "only sound" if container.streams.audio else "neither video nor sound"
        raise MediaError(f"{path}: expected a video, found {found}")
    return videos[0]


def _check_pixels(path: Path) -> Check:
    def check(width: int, height: int) -> None:
        if width * height > MAX_PIXELS:
            raise MediaError(f"{path}: found {width}x{height} pixels, expected at most {MAX_PIXELS}")

    return check


class _Clock:
    """The times of frames, from the first."""

    def __init__(self, path: Path, stream: av.VideoStream, strict: bool) -> None:
        self.path, self.strict = path, strict
        self.step = float(1 / stream.average_rate) if stream.average_rate else None
        self.count = 0
        self.first: float | None = None
        self.time = 0.0
        """Of the last frame, as the file has it."""
        self.last = 0.0
        self.shift = 0.0
        self.jumps: list[float] = []
        """Where the clock jumped, in seconds from the first frame."""

    def seconds(self, time: float | None) -> float | None:
        """From the first frame to this one; None for a frame that is not shown."""
        step = 1 / VIDEO_FPS if self.step is None else self.step
        if time is None:
            if self.strict and self.step is None:
                raise MediaError(
                    f"{self.path}: frame {self.count} has no timestamp and the file no frame rate"
                )
            time = self.count * step if self.strict else self.time + step if self.count else 0.0
        if self.first is None:
            self.first = time
        found = time - self.first + self.shift
        if self.count:
            late, gap = self.last - found, found - self.last
            if self.strict:
                self._check(late, gap)
            elif late > MAX_STEP_BACK_SECONDS or gap > MAX_GAP_SECONDS:
                self.jumps.append(self.last)
                self.shift += self.last + step - found
                found = self.last + step
            elif late >= 0:
                return None  # two frames for one moment
        self.time, self.last, self.count = time, found, self.count + 1
        return found

    def _check(self, late: float, gap: float) -> None:
        if late >= 0:
            raise MediaError(f"{self.path}: cannot be decoded (timestamps do not increase)")
        if gap > MAX_GAP_SECONDS:
            raise MediaError(f"{self.path}: found a gap of {gap:.0f} s between two frames")


def _tell(
    path: Path, stream: av.VideoStream, clock: _Clock, skipped: Skipped, notes: list[str] | None
) -> None:
    """What was gone over, and whether the video ends where it says."""
    end = promised_end(stream)
    found = clock.time + (clock.step or 0.0)
    missing = 0.0 if end is None or clock.jumps else end - found
    first = clock.first or 0.0
    if missing > TRUNCATED_SECONDS and missing > TRUNCATED_SHARE * (end - first):
        broke = f"decoding stopped after {found - first:.1f} of {end - first:.1f} s"
        if notes is None:
            raise MediaError(f"{path}: truncated or damaged, {broke}")
        notes.append(f"the picture is truncated or damaged: {broke}")
    if notes is not None:
        notes += skipped.note("the picture")
        if clock.jumps:
            notes.append(f"timestamps of the picture jump after {clock.jumps[0]:.1f} s; the jump is ignored")


def promised_end(stream: av.stream.Stream) -> float | None:
    """When a track ends on the file's own clock, as its header says; None where it says nothing."""
    if stream.duration is not None and stream.time_base is not None:
        return float((stream.duration + (stream.start_time or 0)) * stream.time_base)
    # Matroska's tag, 00:00:10.06: when the track ends, not how long it is.
    hours, _, rest = stream.metadata.get("DURATION", "").partition(":")
    minutes, _, seconds = rest.partition(":")
    try:
        return int(hours) * 3600 + int(minutes) * 60 + float(seconds)
    except ValueError:
        return None
