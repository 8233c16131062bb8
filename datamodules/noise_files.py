"""Folders of noise: which of their files are meant, and a stretch of one without reading all of it."""

from __future__ import annotations

import wave
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Generator, Tensor

from datamodules.batch import SAMPLE_RATE_HZ, Utterance
from datamodules.media import load_audio, wav
from datamodules.noise import excerpt
from datamodules.seeding import randint

SUFFIXES = (".wav", ".flac", ".mp3", ".ogg", ".opus", ".m4a")
"""Of sound files in a folder."""
MUSAN = ("music", "noise", "speech")
"""Its parts: each is as likely as the others, however many files it has."""


@dataclass(frozen=True)
class Files:
    """From anywhere in one of many files, read when it is drawn: of a part first, and then of its files."""

    parts: tuple[tuple[Path, ...], ...]

    def draw(self, num_samples: int, rng: Generator, clip: Utterance | None = None) -> Tensor:
        part = self.parts[randint(0, len(self.parts) - 1, rng) if len(self.parts) > 1 else 0]
        path = part[randint(0, len(part) - 1, rng)]
        return read_stretch(path, lambda length: randint(0, length - 1, rng), num_samples)


def read_stretch(path: Path, choose: Callable[[int], int], num_samples: int) -> Tensor:
    """[num_samples] at 16 kHz from sample `choose(N)` on, of a file of N, beginning anew where it ends.

    Of 16-bit wavs with one channel at 16 kHz no more is read; other files are decoded whole.
    Raises MediaError for what cannot be read.
    """
    header = wav.read_header(path)
    plain = header is not None and (header.num_channels, header.sample_bytes, header.rate_hz) == (
        1,
        2,
        SAMPLE_RATE_HZ,
    )
    if not plain or header.num_samples <= num_samples:
        samples = load_audio(path)
        return excerpt(samples, choose(len(samples)), num_samples)
    start = choose(header.num_samples)
    with wave.open(str(path), "rb") as file:
        file.setpos(start)
        content = file.readframes(num_samples)
        file.rewind()
        content += file.readframes(num_samples - len(content) // 2)
    found = torch.frombuffer(bytearray(content), dtype=torch.int16).float() / 32768
    # Of one that ends before its header says what is there is used, if it is enough.
    return found if len(found) == num_samples else excerpt(load_audio(path), start, num_samples)


def files_of(folder: Path) -> Files:
    """The sound files below a folder; of DEMAND's sixteen channels of a scene, `SCENE/ch01.wav` and on, the
    first; of all of MUSAN its parts.

    Raises ValueError for a folder without any.
    """
    found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())
    first_channels = {path.parent: path for path in reversed(found) if _is_channel(path)}
    kept = [path for path in found if first_channels.get(path.parent, path) == path]
    if not kept:
        raise ValueError(f"noise {folder}: found no sound files; expected some, of {', '.join(SUFFIXES)}")
    parts = [tuple(path for path in kept if path.is_relative_to(folder / part)) for part in MUSAN]
    if all(parts) and sum(map(len, parts)) == len(kept):
        return Files(tuple(parts))
    return Files((tuple(kept),))


def _is_channel(path: Path) -> bool:
    name = path.stem.lower()
    return name.startswith("ch") and name[2:].isdigit()
