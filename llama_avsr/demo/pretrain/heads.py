"""What the encoders are asked for in pretraining: the phone of every frame, and the words of the clip.

Letters: B clips, T frames, C encoder width.
"""

from __future__ import annotations

from collections.abc import Sequence

import jiwer
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from datamodules.batch import Padded
from llama_avsr.demo.corpus.grammar import WORDS
from llama_avsr.demo.corpus.voice import PHONES

BLANK = len(WORDS)
IGNORED = -100


class Heads(nn.Module):
    """Linear classifiers on the encoder's frames; thrown away after pretraining."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.phones = nn.Linear(dim, len(PHONES))
        self.words = nn.Linear(dim, len(WORDS) + 1)

    def phone_loss(self, frames: Padded, labels: Tensor) -> Tensor:
        """Mean cross entropy per frame. frames [B, T, C]; labels [B, T], IGNORED where padded."""
        logits = self.phones(frames.values).float()
        return functional.cross_entropy(logits.transpose(1, 2), labels, ignore_index=IGNORED)

    def word_loss(self, frames: Padded, texts: Sequence[str]) -> Tensor:
        """Mean CTC loss per word."""
        log_probs = self.words(frames.values).float().log_softmax(dim=-1).transpose(0, 1)
        targets = [torch.tensor([WORDS.index(word) for word in text.split()]) for text in texts]
        lengths = torch.tensor([len(target) for target in targets])
        return functional.ctc_loss(
            log_probs, torch.cat(targets), frames.lengths, lengths, blank=BLANK, zero_infinity=True
        )

    def write(self, frames: Padded) -> list[str]:
        """The likeliest words of each clip, frame by frame, without a language model."""
        texts = []
        for best in Padded(self.words(frames.values).argmax(dim=-1), frames.lengths).unpad():
            runs = torch.unique_consecutive(best).tolist()
            texts.append(" ".join(WORDS[index] for index in runs if index != BLANK))
        return texts


class Errors:
    """Counts over clips: wrong frames, wrong words."""

    def __init__(self) -> None:
        self.frames = self.wrong_frames = 0
        self.references: list[str] = []
        self.hypotheses: list[str] = []

    def add(self, heads: Heads, frames: Padded, labels: Tensor, texts: Sequence[str]) -> None:
        valid = labels != IGNORED
        best = heads.phones(frames.values).argmax(dim=-1)
        self.frames += int(valid.sum())
        self.wrong_frames += int((best != labels)[valid].sum())
        self.references += texts
        self.hypotheses += heads.write(frames)

    def __str__(self) -> str:
        words = jiwer.wer(self.references, self.hypotheses)
        return f"phones {self.wrong_frames / max(1, self.frames):.1%} words {words:.1%}"


def padded_labels(labels: Sequence[np.ndarray]) -> Tensor:
    """[B, T] int64, IGNORED past each clip's end."""
    rows = [torch.from_numpy(row) for row in labels]
    return nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=IGNORED)
