"""Whether somebody is speaking, told frame by frame from what has been heard so far.

Letters: T frames of 25 per second, N samples of 16 kHz.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from datamodules.batch import SAMPLES_PER_VIDEO_FRAME
from llama_avsr.transcription import segments

WINDOW_FRAMES = 250
"""The noise floor, and how loud speech is, are looked for in the last ten seconds."""
QUIET_DB = -70.0
"""Before anything was heard, the floor is taken to lie here: speech may begin at once."""
PRIOR_FRAMES = 5
"""As many frames of that level count as heard: within four seconds the room's own noise takes over."""
FLOOR_PERCENTILE = 5
MIN_RANGE_DB, MAX_RANGE_DB = 20.0, 50.0
"""Between floor and speech; speech that seems to be nearer is taken to be so much louder, a floor that lies
lower to lie there."""
BEGIN_SHARE, END_SHARE, MIN_END_DB = 0.35, 0.15, 4.0
"""Of the range above the floor: louder begins speech, quieter ends it (hysteresis)."""
MIN_SPEECH_FRAMES = 3
"""What is shorter is a click."""
STILL = 0.05
"""Grey levels; less movement of the lips is none."""


@dataclass(frozen=True)
class Activity:
    """What is remembered of the past."""

    levels: np.ndarray = field(default_factory=lambda: np.full(PRIOR_FRAMES, QUIET_DB))
    """[at most 250] dB."""
    is_speaking: bool = False
    rising: int = 0
    """Frames up to the last, without a gap, that would not end speech, though they may not begin it."""
    last_sample: float = 0.0
    last_mouth: np.ndarray | None = None


def hear(activity: Activity, sound: np.ndarray) -> tuple[Activity, np.ndarray]:
    """sound: float32 [640 T]. Returns the new state and bool [T]: where somebody speaks."""
    before = np.full(SAMPLES_PER_VIDEO_FRAME, activity.last_sample)
    levels = segments.levels_db(np.concatenate([before, sound]))
    activity, speaks = _follow(activity, levels[1:])
    return _updated(activity, last_sample=float(sound[-1]) if len(sound) else activity.last_sample), speaks


def see(activity: Activity, mouths: np.ndarray) -> tuple[Activity, np.ndarray]:
    """The same of lips alone. mouths: uint8 [T, H, W]."""
    before = mouths[:1] if activity.last_mouth is None else activity.last_mouth[None]
    moving = segments.motion(np.concatenate([before, mouths]))[1:]
    activity, speaks = _follow(activity, QUIET_DB + 20 * np.log10(np.maximum(moving / STILL, 1)))
    return _updated(activity, last_mouth=mouths[-1] if len(mouths) else activity.last_mouth), speaks


def _follow(activity: Activity, levels: np.ndarray) -> tuple[Activity, np.ndarray]:
    past, speaking, rising = activity.levels, activity.is_speaking, activity.rising
    speaks = np.zeros(len(levels), dtype=bool)
    for t, level in enumerate(levels):
        past = np.append(past[-WINDOW_FRAMES + 1 :], level)
        floor, loud = np.percentile(past, (FLOOR_PERCENTILE, 90))
        distance = min(MAX_RANGE_DB, max(MIN_RANGE_DB, loud - floor))
        floor = max(floor, loud - MAX_RANGE_DB)
        end = max(END_SHARE * distance, MIN_END_DB)
        rising = rising + 1 if level >= floor + end else 0
        speaking = level >= floor + (end if speaking else BEGIN_SHARE * distance)
        speaks[t] = speaking
    return _updated(activity, levels=past, is_speaking=bool(speaking), rising=rising), speaks


def _updated(activity: Activity, **changes: object) -> Activity:
    return Activity(**{**vars(activity), **changes})
