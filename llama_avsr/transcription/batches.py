"""Segments of a recording to batches of the model.

Letters: N samples of 16 kHz, T frames of 25 per second.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from datamodules.batch import SAMPLES_PER_VIDEO_FRAME, Batch, Example, TextIds, Utterance
from datamodules.collate import collate
from datamodules.transforms import VideoTransform, cut_or_pad
from llama_avsr.transcription.mouths import Mouths


@dataclass(frozen=True)
class Piece:
    """A segment, in frames, and what the model is given of it."""

    start: int
    stop: int
    media: tuple[str, ...]


def batches(
    pieces: Sequence[Piece],
    waveform: np.ndarray | None,
    mouths: Mouths | None,
    prepare_audio: Callable[[Tensor], Tensor] | None,
    encode_text: Callable[[Utterance], TextIds],
    languages: tuple[str, str],
    max_frames: int,
) -> Iterator[tuple[list[Piece], Batch]]:
    """Batches of at most `max_frames`, padding included; a longer piece has one of its own."""
    to_video = VideoTransform(train=False)
    for group in grouped(pieces, max_frames):
        examples = []
        for piece in group:
            utterance = _utterance(piece, languages)
            inputs: dict[str, Tensor] = {}
            if "audio" in piece.media:
                inputs["audio"] = prepare_audio(sound_of(piece, waveform))
            if "video" in piece.media:
                frames = torch.from_numpy(mouths.cut(piece.start, piece.stop))
                inputs["video"] = to_video(frames, torch.Generator())
            examples.append(Example(utterance=utterance, inputs=inputs, text_ids=encode_text(utterance)))
        yield group, collate(examples)


def grouped(pieces: Sequence[Piece], max_frames: int) -> list[list[Piece]]:
    """Pieces of like media and length together."""
    groups: list[list[Piece]] = []
    for piece in sorted(pieces, key=lambda piece: (piece.media, piece.start - piece.stop, piece.start)):
        group = groups[-1] if groups else []
        # The first of a group is its longest.
        fits = group and group[0].media == piece.media
        if fits and (len(group) + 1) * (group[0].stop - group[0].start) <= max_frames:
            group.append(piece)
        else:
            groups.append([piece])
    return groups


def sound_of(piece: Piece, waveform: np.ndarray) -> Tensor:
    """float32, 640 samples a frame; zeros past the end of the recording."""
    start, stop = piece.start * SAMPLES_PER_VIDEO_FRAME, piece.stop * SAMPLES_PER_VIDEO_FRAME
    return cut_or_pad(torch.from_numpy(waveform[start:stop]), stop - start)


def _utterance(piece: Piece, languages: tuple[str, str]) -> Utterance:
    return Utterance(
        id=f"{piece.start}-{piece.stop}",
        video_path=Path(),
        audio_path=Path(),
        num_frames=piece.stop - piece.start,
        text="",
        source=f":{piece.start}",
        languages=languages,
    )
