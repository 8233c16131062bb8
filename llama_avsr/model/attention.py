"""The LLM's attention: PyTorch's own, taught of clips that lie packed behind each other.

Letters: B clips, N positions of all clips together, T positions of the longest, H heads of keys, G query
heads of each of them, C their width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import AttentionInterface, AttentionMaskInterface, DynamicCache, PreTrainedModel
from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

NAME = "sdpa_of_clips"


@dataclass(frozen=True)
class Packed:
    """Which of N positions belong to which clip."""

    places: Tensor
    """[B, T]: where each clip's positions are; past its end, of any position."""
    valid: Tensor
    """[N]: where each position is among all B * T."""

    @classmethod
    def of(cls, lengths: Sequence[int], device: torch.device) -> Packed:
        """
        >>> packed = Packed.of([3, 1], torch.device("cpu"))
        >>> packed.places.tolist(), packed.valid.tolist()
        ([[0, 1, 2], [3, 3, 3]], [0, 1, 2, 3])
        """
        counts = torch.tensor(lengths)
        inside = torch.arange(int(counts.max()))
        starts = counts.cumsum(0) - counts
        places = (starts[:, None] + inside).clamp(max=int(counts.sum()) - 1)
        valid = (inside < counts[:, None]).flatten().nonzero()[:, 0]
        return cls(places.to(device, non_blocking=True), valid.to(device, non_blocking=True))

    def apart(self, states: Tensor) -> Tensor:
        """[1, H, N, C] -> [B, H, T, C]"""
        return states[0][:, self.places].transpose(0, 1)

    def together(self, states: Tensor) -> Tensor:
        """[B, T, H, C] -> [1, N, H, C]"""
        return states.flatten(0, 1)[self.valid][None]


def adopt(llm: PreTrainedModel) -> None:
    """Have an LLM whose attention is PyTorch's use this one: the same, where nothing is packed."""
    config = llm.config.get_text_config(decoder=True)
    if config._attn_implementation == "sdpa":
        config._attn_implementation = NAME


def sees_everything(llm: PreTrainedModel, length: int) -> bool:
    """Whether all layers are attention that sees the whole of so many positions."""
    return all(
        type(layer) is DynamicLayer
        or (type(layer) is DynamicSlidingWindowLayer and layer.sliding_window > length)
        for layer in DynamicCache(config=llm.config).layers
    )


def attend(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    packed: Packed | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """query: [B, H * G, L, C]; key, value: [B, H, S, C]; attention_mask: [B, 1, L, S], added or bool."""
    if packed is not None:
        query, key, value = (packed.apart(states) for states in (query, key, value))
        output = functional.scaled_dot_product_attention(
            query,
            key,
            value,
            dropout_p=dropout,
            scale=scaling,
            is_causal=True,
            enable_gqa=query.shape[1] != key.shape[1],
        )
        return packed.together(output.transpose(1, 2)), None
    groups = query.shape[1] // key.shape[1]
    if groups == 1 or attention_mask is None or attention_mask.shape[1] != 1:
        return sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **kwargs
        )
    # Query heads of one key head become further queries: keys and values need not be repeated for them.
    batch, heads, length, _ = query.shape
    output = functional.scaled_dot_product_attention(
        query.reshape(batch, key.shape[1], groups * length, -1),
        key,
        value,
        attn_mask=_fitting(attention_mask, query).repeat(1, 1, groups, 1),
        dropout_p=dropout,
        scale=scaling,
    )
    return output.reshape(batch, heads, length, -1).transpose(1, 2).contiguous(), None


def _fitting(mask: Tensor, query: Tensor) -> Tensor:
    return mask if mask.dtype is torch.bool else mask.to(query.dtype)


AttentionInterface.register(NAME, attend)
AttentionMaskInterface.register(NAME, sdpa_mask)
