"""What was said in a recording."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from llama_avsr.transcription import outputs

STAGES = ("read", "faces", "crop", "encode", "decode")


@dataclass(frozen=True)
class Hypothesis:
    """One way to write a segment."""

    text: str
    score: float
    """Log-probability divided by (tokens, end of text counted) ** length_penalty: with 1.0, their mean."""
    finished: bool = True
    """False where the model ran out of tokens (--max-dec-tokens)."""


@dataclass(frozen=True)
class Word:
    """One word of the best hypothesis, when it was said and how sure that is."""

    text: str
    start_s: float
    end_s: float
    confidence: float | None = None
    """From 0 to 1: how probable it is that the word is right; None where nothing tells."""


@dataclass(frozen=True)
class Segment:
    """A stretch of speech between two pauses."""

    start_s: float
    end_s: float
    hypotheses: Sequence[Hypothesis]
    """Best first."""
    media: tuple[str, ...]
    """What the model was given of it: "audio", "video"."""
    words: Sequence[Word] | None = None
    """None where the model has no times for words."""
    speaker: str | None = None
    """Who says it, where the faces of several are followed."""

    @property
    def text(self) -> str:
        return self.hypotheses[0].text

    @property
    def score(self) -> float:
        return self.hypotheses[0].score


@dataclass(frozen=True, kw_only=True)
class Transcript:
    """What was said in one recording, and how it was found out.

    >>> said = [Segment(0.0, 1.2, [Hypothesis("hello there", -0.1)], ("audio",))]
    >>> transcript = Transcript(path=Path("talk.mp4"), segments=said, duration_s=1.5, media=("audio",))
    >>> transcript.text
    'hello there'
    >>> for segment in transcript.segments:
    ...     print(segment.start_s, segment.end_s, segment.text, segment.score)
    0.0 1.2 hello there -0.1
    """

    path: Path
    segments: Sequence[Segment]
    duration_s: float
    media: tuple[str, ...]
    """What was used: "audio", "video"."""
    reason: str = ""
    """Why not all that the model takes; empty where all is used."""
    notes: Sequence[str] = ()
    """What a reader should know: parts that were left out, cuts inside speech."""
    model: str = ""
    languages: tuple[str, str] = ("en", "en")
    """Spoken and written."""
    seconds: Mapping[str, float] = field(default_factory=dict)
    """Wall time of every stage."""

    @property
    def text(self) -> str:
        """All words, in order."""
        return " ".join(segment.text for segment in self.segments if segment.text)

    def save(
        self,
        folder: Path | str,
        formats: Sequence[str] = ("txt", "json", "srt", "vtt"),
        word_times: bool = False,
    ) -> list[Path]:
        """Write NAME.txt, ... to `folder`; returns their paths. word_times: subtitles of one word each."""
        return outputs.save(self, Path(folder), formats, word_times)
