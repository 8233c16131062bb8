"""What a model is trained on: the loss of a batch, and how the targets of its clips are asked for.

Letters: B clips, K tokens of one stream, L positions of the LLM's input, D LLM width, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from datamodules.batch import Padded, TextIds
from llama_avsr.model.views import Share, View


@dataclass(frozen=True)
class Loss:
    """Sums over a batch; whoever owns the global batch divides the losses by its sum of `weight`."""

    cross_entropy: Tensor
    """Weighted sum over the target tokens."""
    weight: float
    """What the target tokens' weights sum to: their number, or that of the clips (`loss_reduction`)."""
    num_tokens: int
    """Target tokens."""
    correct: Tensor
    """Target tokens that the model would have chosen, a count."""
    added: Mapping[str, Tensor]
    """What else is minimised, by name ("sink_loss", "ctc_loss"): sums with the same weights."""
    num_speech_tokens: int
    """Positions of the LLM's input that hold speech."""
    num_positions: int
    """Valid positions of the LLM's input."""
    num_padded: int
    """All positions of the LLM's input, padding included."""

    @classmethod
    def mixed(cls, losses: Sequence[Loss], shares: Sequence[Share]) -> Loss:
        """That of a step that consists of several views."""
        parts = list(zip(losses, shares, strict=True))
        return cls(
            cross_entropy=_sum(loss.cross_entropy * share.weight for loss, share in parts),
            weight=sum(loss.weight * share.count for loss, share in parts),
            num_tokens=sum(loss.num_tokens for loss in losses),
            correct=_sum(loss.correct for loss in losses),
            added={
                name: _sum(loss.added[name] * share.weight for loss, share in parts)
                for name in losses[0].added
            },
            num_speech_tokens=sum(loss.num_speech_tokens for loss in losses),
            num_positions=sum(loss.num_positions for loss in losses),
            num_padded=sum(loss.num_padded for loss in losses),
        )


@dataclass(frozen=True, kw_only=True)
class Question:
    """The clips of a batch as the LLM reads them for one view, and what it is to foretell in them."""

    view: View
    text_ids: Sequence[TextIds]
    """Of each clip."""
    tokens: Sequence[Padded]
    """Of each stream, [B, K, D]."""
    clips: Sequence[Tensor]
    """Each clip's whole sequence, [L, D]."""

    @cached_property
    def learnt(self) -> list[Tensor]:
        """Indices of the target tokens that are learnt."""
        return [_learnt(ids.target, self.view.ignored_target) for ids in self.text_ids]

    @cached_property
    def counts(self) -> Tensor:
        """[B]: how many these are."""
        return torch.tensor([len(kept) for kept in self.learnt])

    @cached_property
    def lengths(self) -> list[int]:
        return [len(clip) for clip in self.clips]

    @property
    def starts(self) -> list[int]:
        """Position of each clip's first target token."""
        return [length - len(ids.target) for length, ids in zip(self.lengths, self.text_ids, strict=True)]

    @property
    def wanted(self) -> list[Tensor]:
        """Positions in each clip whose logits are asked for: a target is predicted one before it."""
        return [start - 1 + kept for start, kept in zip(self.starts, self.learnt, strict=True)]

    @property
    def labels(self) -> Tensor:
        """Of all these, clip by clip."""
        labels = [ids.target[kept] for ids, kept in zip(self.text_ids, self.learnt, strict=True)]
        return torch.cat(labels).to(self.clips[0].device, non_blocking=True)

    @property
    def num_speech_tokens(self) -> int:
        return sum(int(padded.lengths.sum()) for padded in self.tokens)


@dataclass(frozen=True)
class Answer:
    """What the LLM says to a question."""

    logits: Tensor
    """[n, V], one for each of its labels."""
    hidden_states: Sequence[Tensor] | None
    """Each [B, L, D], where they were asked for."""
    packed: bool
    """Whether it read no padding."""


def _learnt(target: Tensor, ignored: int | None) -> Tensor:
    """Indices of the tokens that are learnt."""
    return torch.arange(len(target)) if ignored is None else (target != ignored).nonzero()[:, 0]


def _sum(tensors: Iterable[Tensor]) -> Tensor:
    first, *others = tensors
    return sum(others, first)
