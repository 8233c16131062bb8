"""Where noise comes from: recordings, white and pink noise, another speaker.

All is drawn by the generator handed in, so that a clip gets the same noise in every process, at every SNR.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
from torch import Generator, Tensor

from datamodules.batch import SAMPLE_RATE_HZ, Utterance
from datamodules.media import MediaError, load_audio
from datamodules.noise import excerpt
from datamodules.seeding import randint

SUFFIXES = (".wav", ".flac", ".mp3", ".ogg", ".opus", ".m4a")
"""Of sound files in a folder."""
MADE = ("white", "pink", "speaker")
"""Kinds that need no file."""
LOWEST_PINK_HZ = 20.0
_CHANNEL = re.compile(r"ch\d+")
"""DEMAND has sixteen channels of each scene, `SCENE/ch01.wav` and on: one of them is enough."""


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
class Files:
    """From anywhere in one of many files, read when it is drawn."""

    paths: tuple[Path, ...]

    def draw(self, num_samples: int, rng: Generator, clip: Utterance | None = None) -> Tensor:
        path = self.paths[randint(0, len(self.paths) - 1, rng)]
        return Recording(load_audio(path)).draw(num_samples, rng)


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


@dataclass(frozen=True)
class Speaker:
    """One interfering speaker: the sound of another clip of the test set, by somebody else where folders of
    ids tell speakers apart."""

    clips: tuple[Utterance, ...]

    def draw(self, num_samples: int, rng: Generator, clip: Utterance | None = None) -> Tensor:
        """Raises ValueError where there is nobody else."""
        assert clip is not None
        others = [other for other in self.clips if other.video_path != clip.video_path]
        elsewhere = [other for other in others if _folder(other) != _folder(clip)]
        candidates = elsewhere or others
        if not candidates:
            raise ValueError("noise `speaker` needs two clips or more, found one")
        other = candidates[randint(0, len(candidates) - 1, rng)]
        return Recording(load_audio(other.audio_path, other.video_path)).draw(num_samples, rng)


def noise_source(kind: str, utterances: Sequence[Utterance]) -> NoiseSource:
    """`white`, `pink`, `speaker`, a sound file, or a folder of them, such as a part of MUSAN or DEMAND.

    Raises ValueError for what is none of these.
    """
    if kind == "white":
        return White()
    if kind == "pink":
        return Pink()
    if kind == "speaker":
        return Speaker(tuple(utterances))
    path = Path(kind)
    if path.is_dir():
        return Files(_files_of(path))
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


def _files_of(folder: Path) -> tuple[Path, ...]:
    found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())
    first_channels = {path.parent: path for path in reversed(found) if _CHANNEL.fullmatch(path.stem.lower())}
    kept = [path for path in found if first_channels.get(path.parent, path) == path]
    if not kept:
        raise ValueError(f"noise {folder}: found no sound files; expected some, of {', '.join(SUFFIXES)}")
    return tuple(kept)


def _folder(clip: Utterance) -> str:
    return clip.id.rpartition("/")[0]
