"""What a model is asked to do, one file each: data only.

A module of this folder offers `TASK`.
"""

from __future__ import annotations

from dataclasses import dataclass


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

    prompt: str
    """The option that holds the prompt."""
    metric: str
    streams: dict[str, tuple[Stream, ...]]
    """Per value of `--modality`."""


AUDIO = Stream(name="audio", media=("audio",), encoder="audio", markers=("<audio>", "</audio>"))
VIDEO = Stream(name="video", media=("video",), encoder="video", markers=("<video>", "</video>"))

MARKERS = ("<audio>", "</audio>", "<video>", "</video>")
"""In the order in which their rows are added to the vocabulary, after `<pad>`."""
