"""The currency of the project: what a clip is, and what a batch of clips is.

Letters: B clips in a batch, T positions in time (frames or samples).
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

SAMPLE_RATE_HZ = 16_000
VIDEO_FPS = 25
SAMPLES_PER_VIDEO_FRAME = SAMPLE_RATE_HZ // VIDEO_FPS  # 640
assert SAMPLES_PER_VIDEO_FRAME * VIDEO_FPS == SAMPLE_RATE_HZ


@dataclass(frozen=True, kw_only=True)
class Utterance:
    """One line of a label file."""

    id: str
    """Unique inside its label file: of a .csv `dataset/rel_path` without the suffix."""
    video_path: Path
    """The mouth clip (.mp4). This path and the next may be a `Packed` one, of a file inside a shard."""
    audio_path: Path
    """Of a .csv the same stem with .wav; where it does not exist the mp4's own track is read."""
    num_frames: int
    """Length in 25 Hz video frames (= audio samples / 640)."""
    text: str
    """The transcript; a manifest's may be empty."""
    source: str
    """`file:line`, for error messages."""
    languages: tuple[str, str] = ("en", "en")
    """Spoken and written (ISO 639-1); where they differ, the task is translation."""
    run_lengths: tuple[int, ...] | None = None
    """Frames of each run of equal visual units, where the label file has them; their sum is `num_frames`."""

    @property
    def position(self) -> tuple[str, int]:
        """File and line: orders clips as their label file does."""
        file, _, line = self.source.rpartition(":")
        return file, int(line)

    @property
    def has_text(self) -> bool:
        """False where nothing of the text can be seen."""
        return can_be_seen(self.text)


def can_be_seen(text: str) -> bool:
    """False for an empty text, spaces, zero-width spaces."""
    return any(not (char.isspace() or unicodedata.category(char) == "Cf") for char in text)


@dataclass(frozen=True)
class Padded:
    """Sequences of unequal length in one tensor. No module sees values without lengths.

    >>> padded = Padded.from_list([torch.ones(3), torch.ones(1)])
    >>> padded.values.shape, padded.lengths.tolist()
    (torch.Size([2, 3]), [3, 1])
    >>> padded.mask.tolist()
    [[True, True, True], [True, False, False]]

    values: [B, T, ...]; what lies past a clip's length is undefined and never read.
    lengths: [B] int64, valid positions of each clip, at most T. They stay on the CPU, so that shapes are
    planned without waiting for a device.
    """

    values: Tensor
    lengths: Tensor

    @classmethod
    def from_list(cls, sequences: Sequence[Tensor]) -> Padded:
        """Stack tensors [T_i, ...] into one, zeros after each end."""
        lengths = torch.tensor([len(sequence) for sequence in sequences], dtype=torch.int64)
        return cls(torch.nn.utils.rnn.pad_sequence(list(sequences), batch_first=True), lengths)

    def __len__(self) -> int:
        return self.values.shape[0]

    @property
    def mask(self) -> Tensor:
        """[B, T] bool, True where a position is valid."""
        device = self.values.device
        lengths = self.lengths.to(device, non_blocking=True)
        return torch.arange(self.values.shape[1], device=device) < lengths[:, None]

    def zeroed(self) -> Padded:
        """The same sequences, with zeros in the padding whatever lay there (NaN included)."""
        mask = self.mask.reshape(*self.mask.shape, *[1] * (self.values.dim() - 2))
        return Padded(self.values.masked_fill(~mask, 0), self.lengths)

    def unpad(self) -> list[Tensor]:
        """The sequences [T_i, ...] one by one, as views."""
        return [value[:length] for value, length in zip(self.values, self.lengths.tolist(), strict=True)]

    def to(self, device: torch.device | str, non_blocking: bool = False) -> Padded:
        return Padded(self.values.to(device, non_blocking=non_blocking), self.lengths)

    def pin_memory(self) -> Padded:
        return Padded(self.values.pin_memory(), self.lengths)


@dataclass(frozen=True, kw_only=True)
class TextIds:
    """Token ids around the speech: `prefix <speech> suffix target`. Each is [n] int64.

    The task decides what goes where (BOS, prompt, EOS); the loss is on `target` alone.
    """

    prefix: Tensor
    suffix: Tensor
    target: Tensor
    by_task: dict[str, TextIds] = field(default_factory=dict)
    """Where a batch serves several tasks, those of each."""

    def of(self, task: str) -> TextIds:
        return self.by_task.get(task, self)


@dataclass(frozen=True, kw_only=True)
class Example:
    """One clip as the loader's workers hand it to the collator."""

    utterance: Utterance
    inputs: dict[str, Tensor]
    """Per medium ("audio", "video"): [T, ...] as its encoder's `prepare` made it."""
    text_ids: TextIds


@dataclass(frozen=True, kw_only=True)
class Batch:
    """B clips, ready for the model."""

    utterances: list[Utterance]
    inputs: dict[str, Padded]
    """Per medium: "audio" [B, samples] waveforms or [B, T, 104] filterbanks,
    "video" [B, T, 88, 88] normalised grey frames. What is not there, the model does without."""
    text_ids: list[TextIds]

    def __len__(self) -> int:
        return len(self.utterances)

    @property
    def run_lengths(self) -> list[Tensor | None]:
        """Each clip's runs of equal visual units, where its label file has them."""
        return [None if u.run_lengths is None else torch.tensor(u.run_lengths) for u in self.utterances]

    def to(self, device: torch.device | str, non_blocking: bool = False) -> Batch:
        """Media move; token ids and lengths stay on the CPU, where sequences are planned."""
        inputs = {name: padded.to(device, non_blocking) for name, padded in self.inputs.items()}
        return Batch(utterances=self.utterances, inputs=inputs, text_ids=self.text_ids)

    def pin_memory(self) -> Batch:
        inputs = {name: padded.pin_memory() for name, padded in self.inputs.items()}
        return Batch(utterances=self.utterances, inputs=inputs, text_ids=self.text_ids)
