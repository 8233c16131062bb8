"""Cutting a clip into segments of at most so many frames, at word boundaries.

Times become 25 Hz frames here and nowhere else; a segment is `[start, end)` in frames, its sound
`[640 * start, 640 * end)` in samples. Neighbouring segments share one boundary, so that no frame is lost or
doubled between them.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from datamodules.batch import VIDEO_FPS
from preparation.quiet import cut_where_quiet

EDGE_TOLERANCE_FRAMES = 5
"""Frames by which a word may reach past the video: alignments and subtitles end where the sound does."""
GOOD_PAUSE_S = 0.5
"""A longer pause is no better a place to cut."""
BALANCE_WEIGHT_S = 0.05
"""Seconds of pause that a cut into even halves is worth."""
QUIET_WINDOW_FRAMES = 5


@dataclass(frozen=True)
class Word:
    """A word, or the text of a subtitle, and when it is said."""

    text: str
    start_s: float
    end_s: float


@dataclass(frozen=True)
class Span:
    """Frames `[start, end)`."""

    start: int
    end: int

    @property
    def num_frames(self) -> int:
        return self.end - self.start


@dataclass(frozen=True)
class Segment:
    """What becomes a clip of its own. `text` is None where nobody knows yet what is said."""

    span: Span
    text: str | None


@dataclass(frozen=True)
class LeftOut:
    """Something that becomes no clip: why, as a heading to count under, and the particulars."""

    reason: str
    detail: str = ""


@dataclass
class Cut:
    """The outcome of cutting one stretch of video."""

    segments: list[Segment] = field(default_factory=list)
    left_out: list[LeftOut] = field(default_factory=list)


@dataclass(frozen=True)
class Stretch:
    """A stretch of video that shows one mouth without a break.

    total_frames: of the whole video, of which `span` may be a part.
    loudness: mean square of the sound, for each frame of the whole video; None without sound.
    """

    span: Span
    total_frames: int
    max_frames: int
    loudness: np.ndarray | None = None


class Transcript(Protocol):
    """What is known about what is said in a video."""

    numbered: bool
    """Whether segments are numbered (`00001_00`), however many there are."""

    timed: tuple[Word, ...]
    """The words or subtitles whose times are known."""

    def cut(self, stretch: Stretch) -> Cut: ...


@dataclass(frozen=True)
class WholeText:
    """A text without times: the video is one clip."""

    text: str
    numbered = False
    timed = ()

    def cut(self, stretch: Stretch) -> Cut:
        if stretch.span.num_frames + EDGE_TOLERANCE_FRAMES < stretch.total_frames:
            return Cut(
                left_out=[LeftOut("the mouth is seen in a part of it only, and its text has no times")]
            )
        return _one(Segment(stretch.span, self.text), stretch.max_frames, "and its text has no times")


@dataclass(frozen=True)
class Cues:
    """Subtitles: a clip for each."""

    timed: tuple[Word, ...]
    numbered = True

    def cut(self, stretch: Stretch) -> Cut:
        cut = Cut()
        for cue in self.timed:
            span = _clamped(cue, stretch.span)
            if span is None:
                continue
            one = _one(Segment(span, cue.text), stretch.max_frames, f"{cue.start_s:.2f} s: {cue.text!r}")
            cut.segments += one.segments
            cut.left_out += one.left_out
        return cut


@dataclass(frozen=True)
class Words:
    """Aligned words: as few segments as possible, cut in the longest pauses."""

    timed: tuple[Word, ...]
    numbered = True

    def cut(self, stretch: Stretch) -> Cut:
        inside = [word for word in self.timed if _clamped(word, stretch.span) is not None]
        if not inside:
            return Cut()
        inside.sort(key=lambda word: (word.start_s, word.end_s))
        return _cut_words(inside, stretch.span, stretch.max_frames)


@dataclass(frozen=True)
class UnknownText:
    """Nobody knows yet what is said: cut where it is quiet."""

    numbered = True
    timed = ()

    def cut(self, stretch: Stretch) -> Cut:
        span = (stretch.span.start, stretch.span.end)
        pieces = cut_where_quiet(span, stretch.loudness, stretch.max_frames, VIDEO_FPS, QUIET_WINDOW_FRAMES)
        return Cut([Segment(Span(*piece), None) for piece in pieces])


def to_frame(seconds: float) -> int:
    """The frame boundary nearest to a time."""
    return math.floor(seconds * VIDEO_FPS + 0.5)


def outside(timed: Sequence[Word], spans: Sequence[Span]) -> int:
    """How many of them lie in none of the spans."""
    return sum(all(_clamped(word, span) is None for span in spans) for word in timed)


def _one(segment: Segment, max_frames: int, detail: str) -> Cut:
    if segment.span.num_frames > max_frames:
        reason = f"longer than {max_frames / VIDEO_FPS:g} s"
        return Cut(left_out=[LeftOut(reason, f"{segment.span.num_frames / VIDEO_FPS:.2f} s, {detail}")])
    return Cut([segment])


def _clamped(word: Word, span: Span) -> Span | None:
    """The frames of a word, at least one; None where it lies outside `span`, or far enough in part."""
    start, end = to_frame(word.start_s), to_frame(word.end_s)
    if start < span.start - EDGE_TOLERANCE_FRAMES or end > span.end + EDGE_TOLERANCE_FRAMES:
        return None
    if not span.start <= (start + end) / 2 < span.end:
        return None
    start = min(max(start, span.start), span.end - 1)
    return Span(start, max(min(end, span.end), start + 1))


def _cut_words(words: Sequence[Word], span: Span, max_frames: int) -> Cut:
    bounds = _bounds(words, span)
    pauses = [max(0.0, b.start_s - a.end_s) for a, b in itertools.pairwise(words)]
    cut = Cut()
    for first, last in _best_partition(bounds, pauses, max_frames):
        text = " ".join(word.text for word in words[first : last + 1] if word.text)
        piece = Span(bounds[first], bounds[last + 1])
        if not text:
            cut.left_out.append(LeftOut("no words", f"noise from {words[first].start_s:.2f} s on"))
            continue
        if piece.num_frames == 0:
            cut.left_out.append(LeftOut("words of zero duration", f"{words[first].start_s:.2f} s: {text!r}"))
            continue
        if piece.num_frames > max_frames:
            # One word alone, in a silence longer than a segment may be.
            word = _clamped(words[first], span)
            if word.num_frames > max_frames:
                detail = f"{words[first].start_s:.2f} s: {text!r}"
                cut.left_out.append(LeftOut("a word longer than the longest segment", detail))
                continue
            margin = (max_frames - word.num_frames) // 2
            start = max(piece.start, min(word.start - margin, piece.end - max_frames))
            piece = Span(start, start + max_frames)
        cut.segments.append(Segment(piece, text))
    return cut


def _bounds(words: Sequence[Word], span: Span) -> list[int]:
    """Frame boundaries [words + 1]: the ends of the span, and the middle of each pause in between."""
    bounds = [span.start]
    for before, after in itertools.pairwise(words):
        middle = to_frame((before.end_s + after.start_s) / 2)
        bounds.append(min(max(middle, bounds[-1]), span.end))
    return [*bounds, span.end]


def _best_partition(bounds: Sequence[int], pauses: Sequence[float], max_frames: int) -> list[tuple[int, int]]:
    """(first, last) word of each segment: the fewest segments, then the longest pauses between them."""
    num_words = len(bounds) - 1
    best: list[tuple[int, float]] = [(0, 0.0)]
    previous = [0]
    for end in range(1, num_words + 1):
        choices = []
        for start in range(end - 1, -1, -1):
            num_frames = bounds[end] - bounds[start]
            if num_frames > max_frames and start < end - 1:
                break
            count, cost = best[start]
            cost += BALANCE_WEIGHT_S * (num_frames / max_frames) ** 2
            cost -= min(pauses[start - 1], GOOD_PAUSE_S) if start else 0.0
            choices.append(((count + 1, cost), start))
        value, start = min(choices)
        best.append(value)
        previous.append(start)
    pieces = []
    end = num_words
    while end:
        pieces.append((previous[end], end - 1))
        end = previous[end]
    return pieces[::-1]
