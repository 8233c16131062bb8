"""What a file holds, and its sound on the time axis of its picture.

Letters: N samples of 16 kHz.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np

from datamodules.media import MediaError, load_audio
from datamodules.media.opening import opened, pictures_of, sounds_of
from datamodules.media.pictures import TRUNCATED_SECONDS, TRUNCATED_SHARE, promised_end
from datamodules.media.sound import is_silent
from datamodules.media.sound import read_sound as read_along
from llama_avsr.transcription.modality import EMPTY, SILENT


@dataclass(frozen=True)
class Contents:
    """Which tracks a file has."""

    picture: bool
    sound: bool


def contents(path: Path) -> Contents:
    """Raises MediaError for a file that is missing or no recording."""
    with opened(path) as container:
        return Contents(bool(pictures_of(container)), bool(container.streams.audio))


def missing_seconds(path: Path, found_seconds: float) -> str:
    """A note where the sound ends before the time that the file's header promises; empty where it does not.

    Ends are compared, not lengths: the clock of what was cut out of a stream does not begin at zero.
    """
    with opened(path) as container:
        streams = sounds_of(container) or pictures_of(container)
        start = max(0.0, float((streams[0].start_time or 0) * streams[0].time_base)) if streams else 0.0
        promised = promised_end(streams[0]) if streams else None
        promised = (container.duration or 0) / av.time_base if promised is None else promised
    missing = promised - (start + found_seconds)
    length = promised - start
    if missing <= TRUNCATED_SECONDS or missing <= TRUNCATED_SHARE * length:
        return ""
    return f"the sound ends at {found_seconds:.1f} s of {length:.1f} s: is the file whole?"


def read_sound(
    path: Path,
    found: Contents,
    already_cropped: bool,
    notes: list[str] | None = None,
    track: int | None = None,
) -> tuple[np.ndarray | None, str]:
    """The sound, float32 [N], sample 0 at the first video frame; or None and why there is none.

    A mouth crop keeps its sound in a .wav beside it, or in its own track. notes: what was chosen and what was
    gone over is told there. track: one of several, from 1.
    Raises MediaError where it cannot be decoded, and there is no picture either.
    """
    notes = [] if notes is None else notes
    beside = path.with_suffix(".wav")
    if already_cropped and beside != path and beside.is_file():
        waveform = load_audio(beside, notes=notes).numpy()
    elif not found.sound:
        where = f", and no {beside.name} lies beside it" if already_cropped else ""
        return None, f"the file has no sound track{where}"
    else:
        try:
            waveform = read_along(path, notes, track, found.picture)
        except MediaError as error:
            if not found.picture or track is not None:
                raise
            return None, f"its sound cannot be read ({str(error).removeprefix(f'{path}: ')})"
        if waveform is None:
            return None, EMPTY
    return (None, SILENT) if is_silent(waveform) else (waveform, "")
