"""What a file holds, and its sound on the time axis of its picture.

Letters: N samples of 16 kHz.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np

from datamodules.media import load_audio
from datamodules.media.opening import opened, pictures_of
from datamodules.media.sound import is_silent
from datamodules.media.sound import read_sound as read_along


@dataclass(frozen=True)
class Contents:
    """Which tracks a file has."""

    picture: bool
    sound: bool


def contents(path: Path) -> Contents:
    """Raises MediaError for a file that is missing or no recording."""
    with opened(path) as container:
        return Contents(bool(pictures_of(container)), bool(container.streams.audio))


TRUNCATED_SHARE, TRUNCATED_SECONDS = 0.05, 0.5
"""A recording whose sound is shorter than the file says by more than both may be cut off."""


def missing_seconds(path: Path, found_seconds: float) -> str:
    """A note where a file ends before the length that its header promises; empty where it does not."""
    with opened(path) as container:
        promised = (container.duration or 0) / av.time_base
    missing = promised - found_seconds
    if missing <= TRUNCATED_SECONDS or missing <= TRUNCATED_SHARE * promised:
        return ""
    return f"the sound ends at {found_seconds:.1f} s of {promised:.1f} s: is the file whole?"


def read_sound(path: Path, found: Contents, already_cropped: bool) -> tuple[np.ndarray | None, str]:
    """The sound, float32 [N], sample 0 at the first video frame; or None and why there is none.

    A mouth crop keeps its sound in a .wav beside it, or in its own track.
    Raises MediaError where it cannot be decoded.
    """
    beside = path.with_suffix(".wav")
    if already_cropped and beside != path and beside.is_file():
        waveform = load_audio(beside).numpy()
    elif not found.sound:
        where = f", and no {beside.name} lies beside it" if already_cropped else ""
        return None, f"the file has no sound track{where}"
    elif found.picture:
        waveform = read_along(path)
        if waveform is None:
            return None, "its sound track is empty"
    else:
        waveform = load_audio(path).numpy()
    if is_silent(waveform):
        return None, "its sound track is silent"
    return waveform, ""
