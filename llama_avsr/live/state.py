"""All that is remembered between two chunks of a live recording.

Letters: T frames of 25 per second.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from datamodules.batch import VIDEO_FPS
from llama_avsr.live.activity import Activity
from llama_avsr.live.encoding import Context, Encoded, Speech
from llama_avsr.live.policy import Guess, Policy
from llama_avsr.live.writing import Written
from llama_avsr.transcription.modality import Media
from llama_avsr.transcription.segments import Cutting
from llama_avsr.words.voice import Listening


@dataclass(frozen=True, kw_only=True)
class Rules:
    """How live recordings are dealt with; times in frames."""

    cutting: Cutting
    step: int
    """New frames of speech from one pass to the next, at least."""
    context: Context
    policy: Policy
    languages: tuple[str, str] = ("en", "en")


@dataclass(frozen=True)
class LiveWord:
    """A word that is fixed; times in seconds of the recording."""

    text: str
    probability: float
    heard_s: float
    """What had been heard when it was first written: it ends before."""
    partial_s: float
    """When it was first shown."""
    fixed_s: float
    """When it was fixed."""
    segment: int
    """Its number."""


@dataclass(frozen=True)
class Open:
    """A segment that is being spoken."""

    number: int
    start: int
    """Its first frame in the recording."""
    media: Media
    speech: Speech
    spoken: int
    """Frames up to the last that sounds like speech."""
    voiced: int
    """Frames that are loud as speech is, or move so."""
    is_voice: bool = False
    """Whether it is known to be speech, and no noise."""
    passed: int = 0
    """Frames that the last pass was given."""
    encoded: Encoded = field(default_factory=Encoded)
    written: Written | None = None
    """By the last pass."""
    passes: Sequence[Sequence[Guess]] = ()
    """What the last passes wrote."""
    seen: Sequence[tuple[float, float]] = ()
    """Of each word that is shown: what had been heard, and the time, when it was first."""
    words: Sequence[LiveWord] = ()
    """Those that are fixed."""
    ids: Sequence[int] = ()
    """Their tokens."""

    @property
    def heard_s(self) -> float:
        """What the model has heard, in seconds of the recording."""
        return (self.start + self.passed) / VIDEO_FPS


@dataclass(frozen=True)
class LiveState:
    """Goes into `session.step` with a chunk, and comes out."""

    frames: int = 0
    """Of the recording, up to now."""
    activity: Activity = field(default_factory=Activity)
    listening: Listening = field(default_factory=Listening)
    lead: Speech | None = None
    """The last frames, while nobody speaks."""
    segment: Open | None = None
    segments: int = 0
    """Begun so far."""

    @property
    def seconds(self) -> float:
        return self.frames / VIDEO_FPS


@dataclass(frozen=True)
class Update:
    """What a step changed."""

    fixed: Sequence[LiveWord] = ()
    """Words that are fixed from now on."""
    partial: str | None = None
    """What may follow them, and may change; None: as before."""
    closed: bool = False
    """Whether a segment came to its end."""
    passes: int = 0
    """Times that the model was asked."""
    encoded: int = 0
    """Frames that the encoders were given."""
    reused: int = 0
    """Positions that the LLM did not read again."""
    read: int = 0
    """Positions that it was given."""
