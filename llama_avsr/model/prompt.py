"""Splicing speech into text: a pure function.

Letters: B clips, L positions of the LLM's input, D LLM width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor


@dataclass(frozen=True)
class Sequences:
    """Packed inputs of the LLM: inside a sequence there is no padding, it lies on one side only."""

    embeddings: Tensor
    """[B, L, D]"""
    lengths: Tensor
    """[B] int64, on the CPU."""
    attention_mask: Tensor
    """[B, L] int64, 1 where valid."""
    position_ids: Tensor
    """[B, L] int64, 0 at each clip's first valid position (and in the padding)."""

    def clips(self, indices: Tensor) -> Sequences:
        """Some clips of left-padded ones, without padding that all of them have. indices: [n], on the CPU."""
        lengths = self.lengths[indices]
        rows = (self.embeddings, self.attention_mask, self.position_ids)
        here, longest = indices.to(self.embeddings.device), int(lengths.max())
        embeddings, mask, positions = (row[here, -longest:] for row in rows)
        return Sequences(embeddings, lengths, mask, positions)


def splice(parts: Sequence[Sequence[Tensor]], padding_side: Literal["left", "right"]) -> Sequences:
    """Join each clip's parts and pad the clips to one length.

    parts: for every clip its pieces [n, D] in order, for example
        `[bos, <audio>, speech, </audio>, prompt, target]`; a piece may be empty.
    """
    rows = [torch.cat(list(pieces)) for pieces in parts]
    lengths = torch.tensor([len(row) for row in rows], dtype=torch.int64)
    embeddings = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_side=padding_side)
    total = embeddings.shape[1]
    start = (total - lengths if padding_side == "left" else torch.zeros_like(lengths))[:, None]
    positions = torch.arange(total)[None] - start
    valid = (positions >= 0) & (positions < lengths[:, None])
    device = embeddings.device
    return Sequences(
        embeddings=embeddings,
        lengths=lengths,
        attention_mask=valid.long().to(device, non_blocking=True),
        position_ids=(positions * valid).to(device, non_blocking=True),
    )
