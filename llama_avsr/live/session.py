"""A live recording, a chunk at a time: a function from a state and a chunk to a state and words.

Letters: T frames of 25 per second.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from datamodules.batch import VIDEO_FPS
from llama_avsr.live.activity import MIN_SPEECH_FRAMES, hear, see
from llama_avsr.live.encoding import Speech
from llama_avsr.live.passing import Live, look, settle
from llama_avsr.live.state import LiveState, Open, Update
from llama_avsr.transcription.modality import Media
from llama_avsr.words import voice

CUT_FRAMES = 75
"""Speech without a pause is cut where it is quietest in as many frames, behind the words that are fixed."""
MAX_LEAD = 10
"""Frames before speech is noticed that may belong to it."""
LEAST_VOICE = 0.35
"""Probability of a voice; what is loud but no voice, as breath, is a pause."""
VOICE_FRAMES = 50
"""In so many of the last, a voice is looked for until one is found."""


def step(
    live: Live, state: LiveState, chunk: Speech, media: Media, newest: bool = True
) -> tuple[LiveState, Update]:
    """Take up what came in.

    media: what of it the model is given; () where there is nothing for it. newest: whether nothing newer
    waits; if not, the model is only asked at the end of a segment.
    """
    updates: list[Update] = []
    speaks, state = _listen(state, chunk, media)
    if state.segment is not None and state.segment.media != media:
        state = _closed(live, state, updates)
    if state.segment is not None:
        state = replace(state, segment=_grown(state.segment, chunk, speaks))
    elif media and speaks.any():
        state = _begun(live, state, chunk, speaks, media)
    else:
        state = replace(state, lead=_last(_with(state.lead, chunk), MAX_LEAD))
    state = replace(state, frames=state.frames + len(chunk))
    if state.segment is not None:
        state = _advance(live, state, updates, newest)
    return state, _merged(updates)


def finish(live: Live, state: LiveState) -> tuple[LiveState, Update]:
    """The recording is over: what is still open is fixed."""
    updates: list[Update] = []
    if state.segment is not None:
        state = _closed(live, state, updates)
    return state, _merged(updates)


def _listen(state: LiveState, chunk: Speech, media: Media) -> tuple[np.ndarray, LiveState]:
    if media == ("video",):
        activity, speaks = see(state.activity, chunk.mouths)
        return speaks, replace(state, activity=activity)
    activity, loud = hear(state.activity, chunk.sound)
    listening, probability = voice.listen(state.listening, chunk.sound)
    return loud & (probability >= LEAST_VOICE), replace(state, activity=activity, listening=listening)


def _begun(live: Live, state: LiveState, chunk: Speech, speaks: np.ndarray, media: Media) -> LiveState:
    first = int(np.argmax(speaks))
    # Voices begin softly: what leads up to the first loud frame belongs to it.
    softly = max(0, state.activity.rising - (len(chunk) - first))
    lead = min(MAX_LEAD, softly + live.rules.cutting.margins[0])
    before = _last(_with(state.lead, chunk.cut(0, first)), lead)
    segment = Open(
        number=state.segments,
        start=state.frames + first - len(before),
        media=media,
        speech=before.joined(chunk.cut(first, len(chunk))),
        spoken=len(before) + int(np.flatnonzero(speaks)[-1]) + 1 - first,
        voiced=int(speaks.sum()),
    )
    return replace(state, lead=None, segment=segment, segments=state.segments + 1)


def _grown(segment: Open, chunk: Speech, speaks: np.ndarray) -> Open:
    spoken = segment.spoken
    if speaks.any():
        spoken = len(segment.speech) + int(np.flatnonzero(speaks)[-1]) + 1
    voiced = segment.voiced + int(speaks.sum())
    return replace(segment, speech=segment.speech.joined(chunk), spoken=spoken, voiced=voiced)


def _advance(live: Live, state: LiveState, updates: list[Update], newest: bool) -> LiveState:
    """Ask the model where the segment is over, or there is enough that is new."""
    rules, segment = live.rules, state.segment
    if len(segment.speech) - segment.spoken >= rules.cutting.min_pause:
        return _closed(live, state, updates)
    if len(segment.speech) >= rules.cutting.max_length:
        return _cut(live, state, updates)
    stop = _stop(live, segment)
    is_pausing = len(segment.speech) - segment.spoken >= max(1, rules.cutting.margins[1])
    segment = _heard_as_voice(segment)
    if not segment.is_voice or not newest:
        return replace(state, segment=segment)
    # The silence behind a word is heard out, and then looked at once.
    if stop - segment.passed >= (1 if is_pausing else rules.step):
        segment, update = look(live, segment, stop)
    elif is_pausing and segment.written is not None:
        # Nothing is new: another pass would write the same.
        segment, update = settle(live, segment)
    else:
        return state
    updates.append(update)
    return replace(state, segment=segment)


def _heard_as_voice(segment: Open) -> Open:
    """The segment, and whether it is speech; what only the eye can tell is taken for it."""
    if segment.is_voice or segment.voiced < MIN_SPEECH_FRAMES:
        return segment
    heard = segment.speech.cut(max(0, len(segment.speech) - VOICE_FRAMES), len(segment.speech)).sound
    return replace(segment, is_voice="audio" not in segment.media or is_voice(heard))


def is_voice(sound: np.ndarray) -> bool:
    """Whether somebody speaks in float32 [N] of 16 kHz."""
    return bool(voice.speech_spans(sound, VIDEO_FPS))


def _stop(live: Live, segment: Open) -> int:
    """Frames of a segment that the model is given: little of the silence behind the last word."""
    return min(len(segment.speech), segment.spoken + live.rules.cutting.margins[1])


def _closed(live: Live, state: LiveState, updates: list[Update], stop: int | None = None) -> LiveState:
    """The segment's last words are fixed, and all that was kept for it is forgotten."""
    segment = _heard_as_voice(state.segment)
    stop = _stop(live, segment) if stop is None else stop
    if segment.is_voice:
        _, update = look(live, segment, stop, last=True)
        updates.append(replace(update, closed=True))
    rest = segment.speech.cut(stop, len(segment.speech))
    return replace(state, segment=None, lead=_last(rest, MAX_LEAD))


def _cut(live: Live, state: LiveState, updates: list[Update]) -> LiveState:
    """Speech that is too long goes on as another segment."""
    segment = state.segment
    fixed = round(segment.words[-1].heard_s * VIDEO_FPS) - segment.start if segment.words else 0
    latest = len(segment.speech) - 1
    earliest = min(latest, max(fixed, len(segment.speech) - CUT_FRAMES, 1))
    levels = state.activity.levels[-(len(segment.speech) - earliest) :]
    cut = earliest + int(np.argmin(levels))
    state = _closed(live, state, updates, cut)
    following = Open(
        number=state.segments,
        start=segment.start + cut,
        media=segment.media,
        speech=segment.speech.cut(cut, len(segment.speech)),
        spoken=max(0, segment.spoken - cut),
        voiced=max(0, segment.spoken - cut),
    )
    return replace(state, lead=None, segment=following, segments=state.segments + 1)


def _with(lead: Speech | None, chunk: Speech) -> Speech:
    # A mouth that came or went since then: what was before is of no use.
    fits = lead is not None and (lead.mouths is None) == (chunk.mouths is None)
    return lead.joined(chunk) if fits else chunk


def _last(speech: Speech, count: int) -> Speech:
    return speech.cut(max(0, len(speech) - count), len(speech))


def _merged(updates: Sequence[Update]) -> Update:
    return Update(
        fixed=[word for update in updates for word in update.fixed],
        partial=updates[-1].partial if updates else None,
        closed=any(update.closed for update in updates),
        **{
            name: sum(getattr(update, name) for update in updates)
            for name in ("passes", "encoded", "reused", "read")
        },
    )
