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
from llama_avsr.transcription.mouths import Mouths
from llama_avsr.transcription.segments import Cutting, Span


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
    activity, spans = _activity_and_spans(recording, rules)
    if mouths is None:
        parts = [(span, choice.media) for span in spans]
    else:
        inside, outside = cutting.apart(spans, _places(recording))
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
    if waveform is None:
        return moving, mouths.spans
    levels = cutting.levels_db(waveform)
    spans = cutting.speech_spans(levels, rules.min_pause)
    if mouths is not None:
        spans = cutting.follow_lips(spans, moving)
    levels = np.pad(levels, (0, num_frames - len(levels)), constant_values=levels.min())
    return levels, cutting.with_margins(spans, rules.margins, num_frames)


def _places(recording: Recording) -> list[Span]:
    """Where there is a mouth to be read."""
    if recording.waveform is None:
        return recording.mouths.spans
    return recording.mouths.stretches(recording.num_frames)


def _listed(spans: Sequence[Span], what: str) -> list[str]:
    if not spans:
        return []
    times = [f"{start / VIDEO_FPS:.1f}-{stop / VIDEO_FPS:.1f} s" for start, stop in spans]
    more = f" and {len(times) - 5} more" if len(times) > 5 else ""
    return [f"{', '.join(times[:5])}{more}: {what}"]
