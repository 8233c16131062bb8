"""What a lip reader is asked for: a class for every frame, or the characters of the clip.

Letters: B clips, T frames (25 Hz), C encoder width, V classes.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import jiwer
import torch
from torch import Tensor, nn
from torch.nn import functional

from datamodules.batch import VIDEO_FPS, Padded, Utterance

IGNORED = -100
SILENCE = 0
BLANK = 0
WORD_TIMES = ("clip", "word", "start_s", "end_s")


@dataclass(frozen=True)
class Score:
    """Of one target on B clips."""

    losses: Tensor
    """Mean over the frames, or the characters, of each clip [B]."""
    correct: Tensor
    """Frames or characters that are right, a count; of characters less those that were written in excess, so
    that the share of errors is the character error rate."""
    total: int
    """Of so many."""


class Target(Protocol):
    """A head on the encoder's frames, and what it should say."""

    def __call__(self, frames: Padded, utterances: Sequence[Utterance]) -> Score: ...


class FrameClasses(nn.Module):
    """A class for every frame.

    labels: utterance id -> classes [T], `IGNORED` where none is known.
    """

    def __init__(self, dim: int, num_classes: int, labels: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.head = nn.Linear(dim, num_classes)
        self.labels = labels

    def forward(self, frames: Padded, utterances: Sequence[Utterance]) -> Score:
        logits = self.head(frames.values).float()
        labels = torch.full(logits.shape[:2], IGNORED)
        for row, utterance, length in zip(labels, utterances, frames.lengths.tolist(), strict=True):
            known = self.labels[utterance.id][:length]
            row[: len(known)] = known
        labels = labels.to(logits.device)
        losses = functional.cross_entropy(
            logits.transpose(1, 2), labels, ignore_index=IGNORED, reduction="none"
        )
        known = labels != IGNORED
        correct = (logits.detach().argmax(-1) == labels)[known].sum()
        return Score(losses.sum(1) / known.sum(1).clamp(min=1), correct, int(known.sum()))


class Characters(nn.Module):
    """The characters of each clip in their order, whenever they are said (CTC).

    alphabet: what is written; others are left out of the targets.
    """

    def __init__(self, dim: int, alphabet: Sequence[str]) -> None:
        super().__init__()
        self.alphabet = list(alphabet)
        self.places = {character: place for place, character in enumerate(self.alphabet, start=BLANK + 1)}
        self.head = nn.Linear(dim, len(self.alphabet) + 1)

    def forward(self, frames: Padded, utterances: Sequence[Utterance]) -> Score:
        logits = self.head(frames.values).float()
        targets = [self.encode(utterance.text) for utterance in utterances]
        lengths = torch.tensor([len(target) for target in targets])
        losses = functional.ctc_loss(
            logits.log_softmax(-1).transpose(0, 1),
            torch.cat(targets),
            frames.lengths,
            lengths,
            blank=BLANK,
            reduction="none",
            zero_infinity=True,
        )
        written = self.write(Padded(logits.detach(), frames.lengths))
        said = ["".join(self.alphabet[place - 1] for place in target.tolist()) for target in targets]
        counted = jiwer.process_characters(said, written)
        correct = counted.hits - counted.insertions
        return Score(losses / lengths.clamp(min=1).to(losses), losses.new_tensor(correct), int(lengths.sum()))

    def encode(self, text: str) -> Tensor:
        return torch.tensor([self.places[c] for c in text.lower() if c in self.places], dtype=torch.int64)

    def write(self, logits: Padded) -> list[str]:
        """What the likeliest classes of the frames spell, without repetitions and blanks."""
        best = Padded(logits.values.argmax(-1), logits.lengths).unpad()
        runs = [torch.unique_consecutive(row).tolist() for row in best]
        return ["".join(self.alphabet[place - 1] for place in row if place != BLANK) for row in runs]


def alphabet_of(utterances: Sequence[Utterance]) -> list[str]:
    """The characters of the texts, lower-case, in order."""
    return sorted({character for utterance in utterances for character in utterance.text.lower()})


@dataclass(frozen=True)
class WordTimes:
    """When the words of clips are said: clip -> (word, start in s, end in s)."""

    clips: dict[str, list[tuple[str, float, float]]]

    @classmethod
    def read(cls, path: Path) -> WordTimes:
        """Read `clip,word,start_s,end_s`, as `prepare_data.py grid` writes it.

        Raises ValueError with file and line.
        """
        if not path.is_file():
            raise ValueError(f"{path}: no such file; expected word times ({','.join(WORD_TIMES)})")
        clips: dict[str, list[tuple[str, float, float]]] = {}
        rows = csv.reader(io.StringIO(path.read_text(encoding="utf-8"), newline=""))
        for number, row in enumerate(rows, start=1):
            if number == 1:
                if tuple(row) != WORD_TIMES:
                    raise _unlike_word_times(path, number, row)
                continue
            try:
                clip, word, start, end = row
                times = float(start), float(end)
            except ValueError:
                raise _unlike_word_times(path, number, row) from None
            clips.setdefault(clip, []).append((word.lower(), *times))
        return cls(clips)

    def words_of(self, utterances: Sequence[Utterance]) -> list[str]:
        """All words of these clips, each once, in order."""
        return sorted({word for utterance in utterances for word, _, _ in self.clips.get(utterance.id, ())})

    def labels(self, utterance: Utterance, places: Mapping[str, int]) -> Tensor:
        """The class of the word in the middle of each frame [T]; SILENCE between words, IGNORED for a word
        without a class. Nothing is known of a clip without times."""
        words = self.clips.get(utterance.id)
        if words is None:
            return torch.full((utterance.num_frames,), IGNORED)
        labels = torch.full((utterance.num_frames,), SILENCE)
        middles = (torch.arange(utterance.num_frames) + 0.5) / VIDEO_FPS
        for word, start, end in words:
            labels[(middles >= start) & (middles < end)] = places.get(word, IGNORED)
        return labels


def read_units(path: Path, utterances: Sequence[Utterance]) -> dict[str, Tensor]:
    """The units of a label file's clips, from the .km beside it: utterance id -> [T].

    Raises ValueError with file and line.
    """
    if not path.is_file():
        raise ValueError(f"{path}: no such file; --targets units needs it (prepare_data.py units)")
    lines = path.read_text(encoding="utf-8").splitlines()
    units = {}
    for utterance in utterances:
        number = utterance.position[1]
        words = lines[number - 1].split() if number <= len(lines) else []
        if len(words) != utterance.num_frames or not all(word.isdecimal() for word in words):
            raise ValueError(
                f"{path}:{number}: expected the {utterance.num_frames} units of {utterance.id}, found "
                f"{len(words)} words"
            )
        units[utterance.id] = torch.tensor([int(word) for word in words])
    return units


def _unlike_word_times(path: Path, number: int, row: Sequence[str]) -> ValueError:
    found = ",".join(row)[:80]
    return ValueError(f"{path}:{number}: expected {','.join(WORD_TIMES)}, found {found!r}")
