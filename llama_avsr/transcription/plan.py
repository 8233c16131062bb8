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
from llama_avsr.transcription.modality import Choice, Media, named
from llama_avsr.transcription.mouths import HOLD_FRAMES, Mouths
from llama_avsr.transcription.people import Person
from llama_avsr.transcription.segments import Cutting, Span
from llama_avsr.words.voice import speech_spans

MIN_PART = 8
"""Frames; speech is not divided into parts with and without a mouth that are shorter."""
TALKING_SHARE = 0.5
"""Of the motion of the mouth that moves most, of those seen together: one that moves less listens."""


@dataclass
class Recording:
    """One file, read."""

    path: Path
    waveform: np.ndarray | None
    """float32 [N]."""
    people: Sequence[Person]
    """Whose lips are read; none where no mouth is."""
    choice: Choice
    notes: list[str]

    @property
    def num_frames(self) -> int:
        sound = 0 if self.waveform is None else -(-len(self.waveform) // SAMPLES_PER_VIDEO_FRAME)
        return max([sound, *(person.mouths.num_frames for person in self.people)])

    def mouths_of(self, speaker: str | None) -> Mouths | None:
        return next((person.mouths for person in self.people if person.label == speaker), None)


MIN_VOICED = 3


@dataclass(frozen=True, eq=False)
class _Heard:
    """What the sound says of speech."""

    levels: np.ndarray
    """[T] dB."""
    spans: list[Span]

    @classmethod
    def of(cls, waveform: np.ndarray, rules: Cutting) -> _Heard:
        levels = cutting.levels_db(waveform)
        return cls(levels, cutting.follow_loudness(speech_spans(waveform, rules.min_pause), levels))


@dataclass(frozen=True, eq=False)
class _View:
    """Speech as one person's mouth shows it; of nobody's, where no mouth is read."""

    speaker: str | None
    mouths: Mouths | None
    moving: np.ndarray
    """[T]: how much the mouth moves."""
    activity: np.ndarray
    """[T]: what is least where a cut hurts least."""
    inside: Sequence[Span]
    """Speech while there is a mouth to be read."""
    outside: Sequence[Span]


def pieces_of(recording: Recording, rules: Cutting, may_drop: bool) -> list[Piece]:
    """The segments, in order; notes in the recording what is left out and what was cut inside speech.

    may_drop: whether the model can do without lips where there are none.
    """
    choice = recording.choice
    if not choice.media:
        return []
    everybody = [(person.label, person.mouths) for person in recording.people] or [(None, None)]
    heard = None if recording.waveform is None else _Heard.of(recording.waveform, rules)
    views = [_view(recording, heard, rules, speaker, mouths) for speaker, mouths in everybody]
    pieces = []
    for view in views:
        spans = [span for span in view.inside if _talks(view, span, views)]
        pieces += _cut(recording, spans, view, choice.media, view.speaker, rules)
    pieces += _cut(
        recording, _without_mouth(recording, views, may_drop), views[0], _rest(choice), None, rules
    )
    return sorted(pieces, key=lambda piece: (piece.start, piece.stop, piece.speaker or ""))


def _view(
    recording: Recording, heard: _Heard | None, rules: Cutting, speaker: str | None, mouths: Mouths | None
) -> _View:
    moving = np.zeros(recording.num_frames)
    for track in () if mouths is None else mouths.tracks:
        moving[track.first : track.first + len(track.frames)] = cutting.motion(track.frames)
    activity, spans = _activity_and_spans(heard, mouths, moving, rules)
    if mouths is None:
        return _View(speaker, mouths, moving, activity, spans, [])
    inside, outside = _by_mouth(spans, recording, mouths, activity)
    if heard is not None and heard.spans:
        # Lips go on moving after the voice: cut off from it, that is no speech.
        inside, outside = (_voiced(parts, heard.spans, len(moving)) for parts in (inside, outside))
    return _View(speaker, mouths, moving, activity, inside, outside)


def _voiced(parts: Sequence[Span], voice: Sequence[Span], num_frames: int) -> list[Span]:
    """Those in which a voice is heard for `MIN_VOICED` frames."""
    is_heard = np.zeros(num_frames, dtype=bool)
    for start, stop in voice:
        is_heard[start:stop] = True
    return [(start, stop) for start, stop in parts if is_heard[start:stop].sum() >= MIN_VOICED]


def _talks(view: _View, span: Span, views: Sequence[_View]) -> bool:
    """Whether a mouth moves as a speaker's does: about as much as the one that moves most meanwhile."""
    place = slice(*span)
    most = max(float(other.moving[place].mean()) for other in views)
    return float(view.moving[place].mean()) >= TALKING_SHARE * most


def _without_mouth(recording: Recording, views: Sequence[_View], may_drop: bool) -> list[Span]:
    """Speech during which nobody's mouth is seen, as far as it can be used; otherwise a note says so."""
    outside = list(views[0].outside)
    for view in views[1:]:
        outside, _ = cutting.apart(outside, view.outside)
    rest = _rest(recording.choice)
    if rest and may_drop:
        recording.notes += _listed(outside, f"no mouth is seen, {named(rest)} alone is used")
        return outside
    recording.notes += _listed(outside, "no mouth is seen, nothing is written")
    return []


def _rest(choice: Choice) -> Media:
    """What is left where there is no mouth."""
    return tuple(medium for medium in choice.media if medium != "video")


def _cut(
    recording: Recording,
    spans: Sequence[Span],
    view: _View,
    media: Media,
    speaker: str | None,
    rules: Cutting,
) -> list[Piece]:
    """Pieces that are not too long; a note says what was cut inside speech."""
    pieces = []
    for span in spans:
        cuts = cutting.cut_long([span], view.activity, rules.max_length)
        if len(cuts) > 1 and recording.waveform is not None:
            recording.notes += _listed([span], "no pause, cut where it is quietest")
        pieces += [Piece(start, stop, media, speaker) for start, stop in cuts]
    return pieces


def _activity_and_spans(
    heard: _Heard | None, mouths: Mouths | None, moving: np.ndarray, rules: Cutting
) -> tuple[np.ndarray, list[Span]]:
    """What is least where a cut hurts least, for each frame, and the stretches of speech."""
    spans = [] if heard is None else heard.spans
    if mouths is not None:
        # Lips alone say where somebody speaks if no voice is heard at all.
        spans = cutting.follow_lips(spans, moving) if spans else _moving_lips(mouths, rules)
    if heard is None:
        return moving, spans
    levels = heard.levels
    levels = np.pad(levels, (0, len(moving) - len(levels)), constant_values=levels.min())
    return levels, cutting.with_margins(spans, rules.margins, len(moving))


def _moving_lips(mouths: Mouths, rules: Cutting) -> list[Span]:
    return [
        (track.first + start, track.first + stop)
        for track in mouths.tracks
        for start, stop in cutting.moving_lips(track.frames, rules.min_pause)
    ]


def _by_mouth(
    spans: Sequence[Span], recording: Recording, mouths: Mouths, activity: np.ndarray
) -> tuple[list[Span], list[Span]]:
    """The parts of `spans` where there is a mouth to be read, and the others.

    Where a mouth appears or is lost in the midst of speech, the cut is made at the quietest frame nearby.
    """
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
