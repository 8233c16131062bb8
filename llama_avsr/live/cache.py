"""What an LLM has read stays read, as far as it is the same.

Letters: L positions of the LLM's input, D LLM width, V vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel

from llama_avsr.model.reading import read_cached


@dataclass(frozen=True)
class Read:
    """A sequence that has been read; reading on makes another and leaves this one as it is."""

    embeddings: Tensor
    """[L, D]"""
    cache: DynamicCache
    logits: Tensor
    """[kept, V] behind the last positions."""
    reused: int = 0
    """Positions that were taken over from what was read before."""


def read_on(llm: PreTrainedModel, before: Read | None, embeddings: Tensor, kept: int = 1) -> Read:
    """Read a sequence [L, D], of which only what follows the beginning it has in common with `before` is
    computed. kept: logits wanted, of the last so many positions.

    For an LLM whose layers all see everything (`attention.sees_everything`).
    """
    same = 0 if before is None else min(_in_common(before.embeddings, embeddings), len(embeddings) - kept)
    cache = DynamicCache(config=llm.config)
    if same:
        for layer, source in zip(cache.layers, before.cache.layers, strict=True):
            layer.update(source.keys[:, :, :same], source.values[:, :, :same])
    mask = torch.ones(1, len(embeddings), dtype=torch.int64, device=embeddings.device)
    positions = torch.arange(same, len(embeddings), device=embeddings.device)[None]
    logits = read_cached(llm, embeddings[None, same:], mask, positions, cache, kept)
    return Read(embeddings, cache, logits[0, -kept:].float(), same)


def _in_common(one: Tensor, other: Tensor) -> int:
    """How many rows both begin with."""
    length = min(len(one), len(other))
    differ = (one[:length] != other[:length]).any(dim=1)
    return int(differ.int().argmax()) if bool(differ.any()) else length
