"""Where a long recording is cut: at its pauses. Pure functions of numbers, no files.

Letters: T frames of 25 per second, N samples of 16 kHz.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from datamodules.batch import SAMPLES_PER_VIDEO_FRAME, VIDEO_FPS
from datamodules.media.spool import release
from preparation.quiet import cut_where_quiet

MEASURED_SAMPLES = 1000 * SAMPLES_PER_VIDEO_FRAME
"""Of the sound, looked at at a time."""
LOUDNESS_REACH = 20
"""Frames by which loudness is followed before and after what the voice detector found: now and then it misses
a soft first word."""
LOUDNESS_GAP = 5
"""Frames; the mouth is shut for no longer before a plosive."""
FLOOR_FRAMES, FLOOR_PERCENTILE = 250, 5
"""The noise floor is what so many frames to either side are hardly ever below."""
LOUD_SHARE, MIN_RANGE_DB = 0.35, 10.0
"""Of the way from the floor to the speech: louder belongs to it; where less lies between, nothing is told."""
LIPS_REACH = 8
"""Frames by which lips are followed before and after the voice."""
RESTING_PERCENTILE = 10
"""How much a resting mouth moves: so little, of the frames in pauses."""
MOVING_SHARE = 0.3
"""Of the way from a resting mouth's motion to a speaking one's: more is movement."""
MAX_RESTING_SHARE = 0.5
"""Where a resting mouth moves more than so much of a speaking one, lips say nothing."""
SPEAKING_MOTION = 0.75
"""Grey levels: a picture that changes more, in the mean of its blocks, shows a mouth at work."""
BLOCK = 8
"""Pixels: noise of the camera is gone in a mean of 64."""
MIN_MOVING_SHARE = 0.25
"""Of the frames of a second around: lips at rest twitch, too."""
SMOOTHED_FRAMES = 3
"""Width of the mean by which the quietest place is chosen."""

Span = tuple[int, int]
"""First frame, and the one after the last."""


@dataclass(frozen=True)
class Cutting:
    """How finely to cut; all in frames."""

    min_pause: int
    """A shorter silence belongs to the speech around it."""
    max_length: int
    margins: tuple[int, int]
    """Silence kept before and after speech, where there is as much."""

    @classmethod
    def of_seconds(cls, min_pause: float, max_length: float, margins: tuple[float, float]) -> Cutting:
        """Raises ValueError for pauses of less than a frame, or segments of less than a second."""
        pause, longest = round(min_pause * VIDEO_FPS), math.floor(max_length * VIDEO_FPS + 1e-6)
        if pause < 1 or longest < VIDEO_FPS:
            raise ValueError(
                f"found a shortest pause of {min_pause:g} s and a longest segment of {max_length:g} s; "
                f"expected at least {1 / VIDEO_FPS:g} s and 1 s"
            )
        return cls(pause, longest, (round(margins[0] * VIDEO_FPS), round(margins[1] * VIDEO_FPS)))


def levels_db(waveform: np.ndarray) -> np.ndarray:
    """Loudness of every frame in dB of full scale: [N] -> [ceil(N / 640)].

    High frequencies are raised: consonants count, hum does not.
    """
    blocks = [_power(waveform, start) for start in range(0, len(waveform), MEASURED_SAMPLES)]
    power = np.concatenate(blocks) if blocks else np.zeros(0, np.float32)
    return 10 * np.log10(np.maximum(power, 1e-10))


def _power(waveform: np.ndarray, start: int) -> np.ndarray:
    """Of the frames of one block: a copy of hours of sound costs as much memory as the sound."""
    block = waveform[start : start + MEASURED_SAMPLES]
    before = waveform[start - 1 : start] if start else waveform[:1] * 0
    raised = np.diff(block, prepend=before).astype(np.float32)
    missing = -len(raised) % SAMPLES_PER_VIDEO_FRAME
    frames = np.pad(raised, (0, missing)).reshape(-1, SAMPLES_PER_VIDEO_FRAME)
    release(waveform)
    return np.square(frames, dtype=np.float32).mean(axis=1)


def follow_loudness(spans: list[Span], levels: np.ndarray) -> list[Span]:
    """Spans that reach as far as the sound around them is as loud as speech.

    levels: [T] from `levels_db`. Nothing gets shorter; longer by `LOUDNESS_REACH` at most, at either end.
    """
    wanted = []
    for start, stop in spans:
        near = levels[max(0, start - FLOOR_FRAMES) : stop + FLOOR_FRAMES]
        floor, loud = np.percentile(near, FLOOR_PERCENTILE), np.median(levels[start:stop])
        if loud - floor < MIN_RANGE_DB:
            wanted.append((0, 0))
            continue
        is_loud = levels > floor + LOUD_SHARE * (loud - floor)
        before = is_loud[max(0, start - LOUDNESS_REACH) : start][::-1]
        wanted.append((_reach(before), _reach(is_loud[stop : stop + LOUDNESS_REACH])))
    return _widened(spans, wanted, len(levels))


def _reach(loud: np.ndarray) -> int:
    """Frames up to the last that is loud, with no gap longer than `LOUDNESS_GAP` before it."""
    reached = 0
    for place in np.flatnonzero(loud):
        if place - reached > LOUDNESS_GAP:
            break
        reached = int(place) + 1
    return reached


def follow_lips(spans: list[Span], moving: np.ndarray) -> list[Span]:
    """Spans that begin and end with the movement of the lips around the voice, where they rest in pauses.

    moving: [T] from `motion`. Nothing gets shorter, nor longer by more than `LIPS_REACH` at either end.
    """
    spoken = np.zeros(len(moving), dtype=bool)
    for start, stop in spans:
        spoken[start:stop] = True
    if not spans or spoken.all():
        return spans
    resting = np.percentile(moving[~spoken], RESTING_PERCENTILE)
    speaking = np.median(moving[spoken])
    if resting > MAX_RESTING_SHARE * speaking:
        return spans
    moves = moving > resting + MOVING_SHARE * (speaking - resting)

    def reach(frames: np.ndarray) -> int:
        return len(frames) if frames.all() else int(np.argmin(frames))

    wanted = [
        (reach(moves[max(0, start - LIPS_REACH) : start][::-1]), reach(moves[stop : stop + LIPS_REACH]))
        for start, stop in spans
    ]
    return _widened(spans, wanted, len(moving))


def with_margins(spans: list[Span], margins: tuple[int, int], num_frames: int) -> list[Span]:
    """Spans with silence before and after; a pause that is too short for both is shared out."""
    return _widened(spans, [margins] * len(spans), num_frames)


def motion(frames: np.ndarray) -> np.ndarray:
    """How much the picture changes at each frame: uint8 [T, H, W] -> [T], the first like the second."""
    if len(frames) < 2:
        return np.zeros(len(frames))
    changes = [
        np.abs(after.astype(np.float32) - before).mean() for before, after in itertools.pairwise(frames)
    ]
    return np.array([changes[0], *changes])


def moving_lips(frames: np.ndarray, min_pause: int) -> list[Span]:
    """The stretches in which a mouth moves as one that speaks: uint8 [T, H, W]; a still mouth has none.

    min_pause: shorter rests are bridged.
    """
    height, width = (size // BLOCK for size in frames.shape[1:])
    whole = frames[:, : height * BLOCK, : width * BLOCK].reshape(-1, height, BLOCK, width, BLOCK)
    moves = motion(whole.mean(axis=(2, 4), dtype=np.float32)) > SPEAKING_MOTION
    around = np.convolve(moves, np.full(VIDEO_FPS, 1 / VIDEO_FPS))[VIDEO_FPS // 2 :][: len(moves)]
    return _bridged(_runs(around >= MIN_MOVING_SHARE), min_pause)


def cut_long(spans: Iterable[Span], activity: np.ndarray, max_length: int) -> list[Span]:
    """Spans no longer than `max_length`: those that are get cut where `activity` [T] (loudness, or motion of
    the lips) is least, into pieces that lie end to end."""
    # Neither of two pieces may get shorter than a quarter of what is allowed.
    return [
        piece
        for span in spans
        for piece in cut_where_quiet(span, activity, max_length, max_length // 4, SMOOTHED_FRAMES)
    ]


def apart(spans: Iterable[Span], places: Sequence[Span]) -> tuple[list[Span], list[Span]]:
    """The parts of `spans` inside and outside of `places` (in order and apart)."""
    inside, outside = [], []
    for start, stop in spans:
        reached = start
        for begin, end in places:
            begin, end = max(begin, start), min(end, stop)
            if begin >= end:
                continue
            if begin > reached:
                outside.append((reached, begin))
            inside.append((begin, end))
            reached = end
        if stop > reached:
            outside.append((reached, stop))
    return inside, outside


def _runs(mask: np.ndarray) -> list[Span]:
    edges = np.flatnonzero(np.diff(mask.astype(np.int8), prepend=0, append=0))
    return list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))


def _bridged(runs: list[Span], min_pause: int) -> list[Span]:
    joined: list[Span] = []
    for start, stop in runs:
        if joined and start - joined[-1][1] < min_pause:
            joined[-1] = joined[-1][0], stop
        else:
            joined.append((start, stop))
    return joined


def _widened(spans: list[Span], wanted: Sequence[tuple[int, int]], num_frames: int) -> list[Span]:
    """Spans that begin and end earlier and later by so much, but stay apart."""
    ends = [0, *(stop for _, stop in spans)]
    starts = [*(start for start, _ in spans), num_frames]
    found = []
    for i, ((start, stop), (before, after)) in enumerate(zip(spans, wanted, strict=True)):
        room_before, room_after = start - ends[i], starts[i + 1] - stop
        if i > 0:
            room_before = max(room_before - wanted[i - 1][1], room_before // 2)
        if i < len(spans) - 1:
            room_after = max(room_after - wanted[i + 1][0], room_after - room_after // 2)
        found.append((start - min(before, room_before), stop + min(after, room_after)))
    return found
