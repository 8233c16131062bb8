"""Speech that grows: only its last stretch is encoded again, what lies further back is final.

A frame of an encoder that sees both ways changes with what follows, the less the further away that is. So a
frame is final once `right_context` frames have followed it, and is given `left_context` frames before it.
Letters: T frames of 25 per second, N samples of 16 kHz, K tokens, D LLM width.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from datamodules.batch import SAMPLES_PER_VIDEO_FRAME, VIDEO_FPS, Batch, Example, Padded, Utterance
from datamodules.collate import collate
from datamodules.transforms import VideoTransform
from llama_avsr.model.speech_llm import SpeechLLM
from llama_avsr.model.views import View
from llama_avsr.transcription.pipeline import Trained


@dataclass(frozen=True)
class Speech:
    """What is given to a model of one segment."""

    sound: np.ndarray
    """float32 [640 T]"""
    mouths: np.ndarray | None
    """uint8 [T, H, W]; None where there is none."""

    def __len__(self) -> int:
        return len(self.sound) // SAMPLES_PER_VIDEO_FRAME

    def joined(self, more: Speech) -> Speech:
        mouths = None if self.mouths is None else np.concatenate([self.mouths, more.mouths])
        return Speech(np.concatenate([self.sound, more.sound]), mouths)

    def cut(self, start: int, stop: int) -> Speech:
        mouths = None if self.mouths is None else self.mouths[start:stop]
        return Speech(self.sound[start * SAMPLES_PER_VIDEO_FRAME : stop * SAMPLES_PER_VIDEO_FRAME], mouths)


@dataclass(frozen=True)
class Context:
    """Frames that the encoders are given around a stretch."""

    left: int
    right: int


@dataclass(frozen=True)
class Encoded:
    """Tokens [K, D] of every stream, and how many frames of speech are final in them."""

    tokens: Sequence[Tensor] = ()
    """The final ones alone."""
    final: int = 0


def encode_on(
    trained: Trained,
    media: tuple[str, ...],
    speech: Speech,
    before: Encoded,
    context: Context,
    languages: tuple[str, str],
) -> tuple[Encoded, list[Tensor], Batch]:
    """Encode what is new of `speech`.

    Returns what is final of it, all tokens of each stream, and the batch that they were made of.
    """
    view = trained.view_of(media)
    grid = grid_frames(trained.model, view)
    # Without a grid, tokens say nothing of where their frames lie: everything is encoded again.
    start = 0 if grid is None else max(0, before.final - context.left) // grid * grid
    batch = _batch(trained, media, speech.cut(start, len(speech)), languages)
    with torch.inference_mode():
        encoded = trained.model.encode(batch.to(trained.device), view)
    new = [padded.values[0, : int(padded.lengths[0])] for padded in encoded]
    if grid is None:
        return before, new, batch
    rates = _tokens_per_frame(trained.model, view)
    old = before.tokens or [tokens[:0] for tokens in new]
    whole = [
        torch.cat([kept, tokens[len(kept) - int(start * rate) :]])
        for kept, tokens, rate in zip(old, new, rates, strict=True)
    ]
    final = max(before.final, (len(speech) - context.right) // grid * grid)
    if any(len(tokens) < final * rate for tokens, rate in zip(whole, rates, strict=True) if len(tokens)):
        final = before.final
    tokens = [tokens[: int(final * rate)] for tokens, rate in zip(whole, rates, strict=True)]
    return Encoded(tokens, final), whole, batch


def grid_frames(model: SpeechLLM, view: View) -> int | None:
    """After how many video frames a token of every stream begins; None where tokens have no fixed length."""
    compressors = [model.compressors[part] for part in view.parts]
    if any(c.units is not None or getattr(c, "listens", False) for c in compressors):
        return None
    return math.lcm(*(rate.denominator for rate in _tokens_per_frame(model, view)))


def _tokens_per_frame(model: SpeechLLM, view: View) -> list[Fraction]:
    return [
        Fraction(VIDEO_FPS if stream.fuses else model.encoders[stream.encoder].frame_rate_hz)
        / (VIDEO_FPS * model.compressors[part].ratio)
        for stream, part in zip(view.streams, view.parts, strict=True)
    ]


def _batch(trained: Trained, media: tuple[str, ...], speech: Speech, languages: tuple[str, str]) -> Batch:
    utterance = Utterance(
        id="live",
        video_path=Path(),
        audio_path=Path(),
        num_frames=len(speech),
        text="",
        source=":0",
        languages=languages,
    )
    inputs: dict[str, Tensor] = {}
    if "audio" in media:
        inputs["audio"] = trained.model.prepare_audio(torch.from_numpy(speech.sound))
    if "video" in media:
        inputs["video"] = VideoTransform(train=False)(torch.from_numpy(speech.mouths), torch.Generator())
    return collate([Example(utterance=utterance, inputs=inputs, text_ids=trained.encode_text(utterance))])


def padded(tokens: Sequence[Tensor]) -> list[Padded]:
    """As a model takes the streams of one clip."""
    return [Padded(stream[None], torch.tensor([len(stream)])) for stream in tokens]
