"""Segments of recordings to batches of the model.

Letters: N samples of 16 kHz, T frames of 25 per second.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from datamodules.batch import SAMPLES_PER_VIDEO_FRAME, Batch, Example, TextIds, Utterance
from datamodules.collate import collate
from datamodules.transforms import VideoTransform, cut_or_pad
from llama_avsr.transcription.mouths import Mouths

if TYPE_CHECKING:
    from llama_avsr.transcription.loops import Loops


@dataclass(frozen=True)
class Piece:
    """A segment, in frames, and what the model is given of it."""

    start: int
    stop: int
    media: tuple[str, ...]
    speaker: str | None = None
    """Whose lips it shows, where those of several people are read."""


@dataclass(frozen=True, eq=False)
class Job:
    """A piece to be written down, and the recording it is cut from: a batch may hold pieces of several."""

    piece: Piece
    waveform: np.ndarray | None
    """float32 [N]."""
    mouths: Mouths | None
    languages: tuple[str, str]
    """Spoken and written."""
    loops: Loops
    """Of its recording."""

    @property
    def media(self) -> tuple[str, ...]:
        return self.piece.media

    @property
    def num_frames(self) -> int:
        return self.piece.stop - self.piece.start

    def halves(self) -> list[Job]:
        """What is decoded in its place, where the model did nothing but repeat itself."""
        return [replace(self, piece=half) for half in self.loops.halves(self.piece, self.waveform)]


def batch_of(
    jobs: Sequence[Job],
    prepare_audio: Callable[[Tensor], Tensor] | None,
    encode_text: Callable[[Utterance], TextIds],
) -> Batch:
    """One batch, in the order of `jobs`, which all have the same media."""
    to_video = VideoTransform(train=False)
    examples = []
    for job in jobs:
        utterance = _utterance(job)
        inputs: dict[str, Tensor] = {}
        if "audio" in job.media:
            inputs["audio"] = prepare_audio(sound_of(job.piece, job.waveform))
        if "video" in job.media:
            frames = torch.from_numpy(job.mouths.cut(job.piece.start, job.piece.stop))
            inputs["video"] = to_video(frames, torch.Generator())
        examples.append(Example(utterance=utterance, inputs=inputs, text_ids=encode_text(utterance)))
    return collate(examples)


def grouped(jobs: Sequence[Job], max_frames: int) -> list[list[Job]]:
    """Jobs of like media and length together: batches of at most `max_frames`, padding included; a longer
    one has a batch of its own."""
    groups: list[list[Job]] = []
    for job in sorted(jobs, key=lambda job: (job.media, -job.num_frames, job.piece.start)):
        group = groups[-1] if groups else []
        # The first of a group is its longest.
        fits = group and group[0].media == job.media
        if fits and (len(group) + 1) * group[0].num_frames <= max_frames:
            group.append(job)
        else:
            groups.append([job])
    return groups


def sound_of(piece: Piece, waveform: np.ndarray) -> Tensor:
    """float32, 640 samples a frame; zeros past the end of the recording."""
    start, stop = piece.start * SAMPLES_PER_VIDEO_FRAME, piece.stop * SAMPLES_PER_VIDEO_FRAME
    return cut_or_pad(torch.from_numpy(waveform[start:stop]), stop - start)


def _utterance(job: Job) -> Utterance:
    piece = job.piece
    return Utterance(
        id=f"{piece.start}-{piece.stop}",
        video_path=Path(),
        audio_path=Path(),
        num_frames=job.num_frames,
        text="",
        source=f":{piece.start}",
        languages=job.languages,
    )
