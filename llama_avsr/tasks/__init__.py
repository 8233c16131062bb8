"""What a model is asked to do, one file each: data only.

A module of this folder offers `TASK`.
"""

from __future__ import annotations

from dataclasses import dataclass

MARKERS = ("<audio>", "</audio>", "<video>", "</video>")
TOKENS = ("<pad>", *MARKERS)
"""In the order in which Llama-AVSR adds their rows to the vocabulary."""


@dataclass(frozen=True, kw_only=True)
class Stream:
    """Speech as the LLM sees it: one encoder's frames, compressed and projected."""

    name: str
    """"audio", "video" or "audiovisual": names the projector and the compression rate."""
    media: tuple[str, ...]
    """What the encoder is fed."""
    encoder: str
    """Streams that name the same encoder share its weights."""
    markers: tuple[str, str] | None
    """Tokens before and after the stream."""


@dataclass(frozen=True, kw_only=True)
class Task:
    """One thing to do with speech."""

    streams: dict[str, tuple[Stream, ...]]
    """Per value of `--modality`."""
    prompt: str | None
    """The option that holds the prompt between speech and text; None: an instruction before the speech,
    chosen by each clip's languages."""
    tokens: tuple[str, ...] = TOKENS
    """Tokens it adds to the LLM's vocabulary."""


AUDIO = Stream(name="audio", media=("audio",), encoder="audio", markers=("<audio>", "</audio>"))
VIDEO = Stream(name="video", media=("video",), encoder="video", markers=("<video>", "</video>"))
