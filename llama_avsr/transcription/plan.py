"""Which stretches of a recording the model is given, and what of them.

Letters: N samples of 16 kHz.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from datamodules.batch import SAMPLES_PER_VIDEO_FRAME, VIDEO_FPS
from llama_avsr.transcription import segments as cutting
from llama_avsr.transcription.batches import Piece
from llama_avsr.transcription.modality import Choice, named
from llama_avsr.transcription.mouths import HOLD_FRAMES, Mouths
from llama_avsr.transcription.segments import Cutting, Span
from llama_avsr.transcription.voice import speech_spans

MIN_PART = 8
"""Frames; speech is not divided into parts with and without a mouth that are shorter."""


@dataclass
class Recording:
    """One file, read."""

    path: Path
    waveform: np.ndarray | None
    """float32 [N]."""
    mouths: Mouths | None
    choice: Choice
    notes: list[str]

    @property
    def num_frames(self) -> int:
        sound = 0 if self.waveform is None else -(-len(self.waveform) // SAMPLES_PER_VIDEO_FRAME)
        return max(sound, 0 if self.mouths is None else self.mouths.num_frames)


def pieces_of(recording: Recording, rules: Cutting, may_drop: bool) -> list[Piece]:
    """The segments, in order; notes in the recording what is left out and what was cut inside speech.

    may_drop: whether the model can do without lips where there are none.
    """
    choice, mouths = recording.choice, recording.mouths
    if not choice.media:
        return []
    activity, spans = _activity_and_spans(recording, rules)
    if mouths is None:
        parts = [(span, choice.media) for span in spans]
    else:
        inside, outside = _by_mouth(spans, recording, activity)
        parts = [(span, choice.media) for span in inside]
        rest = tuple(medium for medium in choice.media if medium != "video")
        if rest and may_drop:
            parts += [(span, rest) for span in outside]
            recording.notes += _listed(outside, f"no mouth is seen, {named(rest)} alone is used")
        else:
            recording.notes += _listed(outside, "no mouth is seen, nothing is written")
    pieces = []
    for span, media in sorted(parts):
        cuts = cutting.cut_long([span], activity, rules.max_length)
        if len(cuts) > 1 and recording.waveform is not None:
            recording.notes += _listed([span], "no pause, cut where it is quietest")
        pieces += [Piece(start, stop, media) for start, stop in cuts]
    return pieces


def _activity_and_spans(recording: Recording, rules: Cutting) -> tuple[np.ndarray, list[Span]]:
    """What is least where a cut hurts least, for each frame, and the stretches of speech."""
    waveform, mouths, num_frames = recording.waveform, recording.mouths, recording.num_frames
    moving = np.zeros(num_frames)
    for track in () if mouths is None else mouths.tracks:
        moving[track.first : track.first + len(track.frames)] = cutting.motion(track.frames)
    spans, levels = [], np.zeros(0)
    if waveform is not None:
        levels = cutting.levels_db(waveform)
        spans = cutting.follow_loudness(speech_spans(waveform, rules.min_pause), levels)
    if mouths is not None:
        # Lips alone say where somebody speaks if no voice is heard at all.
        spans = cutting.follow_lips(spans, moving) if spans else _moving_lips(mouths, rules)
    if waveform is None:
        return moving, spans
    levels = np.pad(levels, (0, num_frames - len(levels)), constant_values=levels.min())
    return levels, cutting.with_margins(spans, rules.margins, num_frames)


def _moving_lips(mouths: Mouths, rules: Cutting) -> list[Span]:
    return [
        (track.first + start, track.first + stop)
        for track in mouths.tracks
        for start, stop in cutting.moving_lips(track.frames, rules.min_pause)
    ]


def _by_mouth(
    spans: Sequence[Span], recording: Recording, activity: np.ndarray
) -> tuple[list[Span], list[Span]]:
    """The parts of `spans` where there is a mouth to be read, and the others.

    Where a mouth appears or is lost in the midst of speech, the cut is made at the quietest frame nearby.
    """
    mouths = recording.mouths
    if recording.waveform is None:
        return cutting.apart(spans, mouths.spans)
    stretches = mouths.stretches(recording.num_frames)
    inside, outside = [], []
    for span in spans:
        seen, _ = cutting.apart([span], mouths.spans)
        places = [_quiet_edges(place, span, activity) for place in stretches] if seen else []
        with_lips, without = cutting.apart([span], [place for place in places if _shared(place, span)])
        inside += with_lips
        outside += without
    return inside, outside


def _quiet_edges(place: Span, span: Span, activity: np.ndarray) -> Span:
    """`place` with those of its edges that lie inside `span` moved inwards, to the quietest frame; or to the
    end of `span`, where too little would be left over."""
    start, stop = place
    reach = min(2 * HOLD_FRAMES, (stop - start) // 2)
    if span[0] < start < span[1]:
        start += int(np.argmin(activity[start : start + reach]))
        start = span[0] if start - span[0] < MIN_PART else start
    if span[0] < stop < span[1]:
        stop -= int(np.argmin(activity[stop - reach : stop][::-1]))
        stop = span[1] if span[1] - stop < MIN_PART else stop
    return start, stop


def _shared(place: Span, span: Span) -> bool:
    """Whether they have enough in common to be a segment."""
    return min(place[1], span[1]) - max(place[0], span[0]) >= min(MIN_PART, span[1] - span[0])


def _listed(spans: Sequence[Span], what: str) -> list[str]:
    if not spans:
        return []
    times = [f"{start / VIDEO_FPS:.1f}-{stop / VIDEO_FPS:.1f} s" for start, stop in spans]
    more = f" and {len(times) - 5} more" if len(times) > 5 else ""
    return [f"{', '.join(times[:5])}{more}: {what}"]
