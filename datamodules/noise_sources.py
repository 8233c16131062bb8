"""Where noise comes from: recordings, white and pink noise, another speaker.

All is drawn by the generator handed in, so that a clip gets the same noise in every process, at every SNR.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Generator, Tensor

from datamodules.batch import SAMPLE_RATE_HZ, Utterance
from datamodules.media import MediaError, load_audio
from datamodules.noise import excerpt
from datamodules.noise_files import files_of
from datamodules.seeding import randint

MADE = ("white", "pink", "speaker")
"""Kinds that need no file."""
LOWEST_PINK_HZ = 20.0
MAX_TRIES = 100
"""To find another clip of the only speaker that there is."""


class NoiseSource(Protocol):
    """Noise for clips."""

    def draw(self, num_samples: int, rng: Generator, clip: Utterance | None = None) -> Tensor:
        """[num_samples] at 16 kHz, of any loudness."""


@dataclass(frozen=True)
class Recording:
    """From anywhere in one recording."""

    samples: Tensor

    def draw(self, num_samples: int, rng: Generator, clip: Utterance | None = None) -> Tensor:
        start = randint(0, len(self.samples) - 1, rng)
        return excerpt(self.samples, start, num_samples)


@dataclass(frozen=True)
class White:
    """The same power in every Hertz."""

    def draw(self, num_samples: int, rng: Generator, clip: Utterance | None = None) -> Tensor:
        return torch.randn(num_samples, generator=rng)


@dataclass(frozen=True)
class Pink:
    """The same power in every octave, from 20 Hz on."""

    def draw(self, num_samples: int, rng: Generator, clip: Utterance | None = None) -> Tensor:
        spectrum = torch.fft.rfft(torch.randn(num_samples, generator=rng))
        hertz = torch.fft.rfftfreq(num_samples, 1 / SAMPLE_RATE_HZ)
        shaped = torch.where(hertz < LOWEST_PINK_HZ, 0, spectrum / hertz.clamp(min=LOWEST_PINK_HZ).sqrt())
        return torch.fft.irfft(shaped, num_samples)


class Speaker:
    """One interfering speaker: the sound of another of the clips, by somebody else where folders of ids tell
    speakers apart."""

    def __init__(self, clips: Sequence[Utterance]) -> None:
        self._clips = clips
        numbers: dict[str, int] = {}
        of_clips = np.array([numbers.setdefault(_folder(clip), len(numbers)) for clip in clips], np.int64)
        # Clips in the order of speakers, so that all but one speaker's are counted off without a search.
        self._order = np.argsort(of_clips, kind="stable").astype(np.uint32)
        ends = np.cumsum(np.bincount(of_clips, minlength=len(numbers))).tolist()
        self._bounds = dict(zip(numbers, zip([0, *ends], ends, strict=False), strict=True))

    def draw(self, num_samples: int, rng: Generator, clip: Utterance | None = None) -> Tensor:
        """Raises ValueError where there is nobody else."""
        assert clip is not None
        other = self._other(clip, rng)
        return Recording(load_audio(other.audio_path, other.video_path)).draw(num_samples, rng)

    def _other(self, clip: Utterance, rng: Generator) -> Utterance:
        start, stop = self._bounds.get(_folder(clip), (0, 0))
        if num_others := len(self._clips) - (stop - start):
            place = randint(0, num_others - 1, rng)
            return self._clips[int(self._order[place if place < start else place + stop - start])]
        for _ in range(MAX_TRIES):
            other = self._clips[randint(0, len(self._clips) - 1, rng)]
            if other.video_path != clip.video_path:
                return other
        raise ValueError("noise `speaker` needs two clips or more, found one")


@dataclass(frozen=True)
class OneOf:
    """One of several kinds, drawn for each clip."""

    sources: tuple[NoiseSource, ...]

    def draw(self, num_samples: int, rng: Generator, clip: Utterance | None = None) -> Tensor:
        return self.sources[randint(0, len(self.sources) - 1, rng)].draw(num_samples, rng, clip)


def noise_of(kinds: Sequence[str], utterances: Sequence[Utterance]) -> NoiseSource | None:
    """One kind, several of which one is drawn for each clip, or none; see `noise_source`."""
    sources = tuple(noise_source(kind, utterances) for kind in kinds)
    return sources[0] if len(sources) == 1 else OneOf(sources) if sources else None


def noise_source(kind: str, utterances: Sequence[Utterance]) -> NoiseSource:
    """`white`, `pink`, `speaker`, a sound file, or a folder of them, such as a part of MUSAN or DEMAND.

    Raises ValueError for what is none of these.
    """
    if kind == "white":
        return White()
    if kind == "pink":
        return Pink()
    if kind == "speaker":
        return Speaker(utterances)
    path = Path(kind)
    if path.is_dir():
        return files_of(path)
    if not path.is_file():
        raise ValueError(f"noise {kind}: found no such file; expected {', '.join(MADE)}, a file or a folder")
    try:
        # In shared memory: workers use this copy and make none.
        return Recording(load_audio(path).share_memory_())
    except MediaError as error:
        raise ValueError(f"noise {kind}: {error}") from None


def show_noise(kind: str) -> str:
    """A short name: `white`, or that of the file or folder."""
    return kind if kind in MADE else Path(kind).stem


def _folder(clip: Utterance) -> str:
    return clip.id.rpartition("/")[0]
