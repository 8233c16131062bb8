"""One cache for all beams of a clip: the prompt once, and behind it the tokens that beams still stand on.

Every step appends W places, one for the newest token of each beam. A beam sees the prompt and the places of
its own history; when beams branch, what they see is copied, and keys and values stay where they are. Places
that no beam sees any longer are taken out when room runs short.

Letters: B clips, W beams, L prompt positions, S places behind the prompt, H heads of keys, C their width.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from transformers import DynamicCache, PreTrainedModel
from transformers.cache_utils import DynamicLayer

STEPS_OF_ROOM = 8
"""For how many steps room is made at a time."""
HIDDEN = torch.finfo(torch.float16).min
"""Added to a score, makes its weight 0 in every precision."""


class SharedCache:
    """Keys and values of a batch. dynamic: what the LLM is given as its cache."""

    def __init__(self, llm: PreTrainedModel, width: int, steps: int) -> None:
        self.width = width
        self.dynamic = DynamicCache(config=llm.config)
        room = width * min(steps, STEPS_OF_ROOM)
        if self.dynamic.layers:
            self.dynamic.layers = [_Layer(room) for _ in self.dynamic.layers]
        else:
            self.dynamic.layer_class_to_replicate = lambda: _Layer(room)

    def copy(self, read: DynamicCache) -> None:
        """Take over the keys and values of prompts that were read into another cache."""
        for layer, source in zip(self.dynamic.layers, read.layers, strict=True):
            layer.update(source.keys, source.values)

    def start(self, attention_mask: Tensor) -> None:
        """The prompts [B, L] have been read."""
        self.prompt = attention_mask.bool()
        self.seen = self.prompt.new_zeros(len(attention_mask), self.width, 0)
        """[B, W, S]: which places belong to a beam's history."""
        self.own = torch.eye(self.width, dtype=torch.bool, device=attention_mask.device)

    def branch(self, parents: Tensor) -> Tensor:
        """Beams go on from their `parents` [B, W] with a token each.

        Returns what is added to their scores of attention, [B, 1, W, L + S]: 0, or HIDDEN.
        """
        clips = len(parents)
        seen = self.seen.gather(1, parents[..., None].expand(-1, -1, self.seen.shape[2]))
        used = seen.shape[2]
        if any(layer.room < used + self.width for layer in self._layers()):
            seen = self._make_room(seen)
        self.seen = torch.cat([seen, self.own.expand(clips, -1, -1)], dim=2)
        visible = torch.cat([self.prompt[:, None].expand(-1, self.width, -1), self.seen], dim=2)
        return torch.zeros(visible.shape, device=visible.device).masked_fill_(~visible, HIDDEN)[:, None]

    def keep(self, clips: Tensor) -> None:
        self.prompt, self.seen = self.prompt[clips], self.seen[clips]
        for layer in self._layers():
            layer.keep(clips)

    def refill(self, clips: Tensor, read: DynamicCache, attention_mask: Tensor) -> None:
        """Put prompts that were read into another cache, with this mask [n, L], in the places of clips."""
        shorter = self.prompt.shape[1] - attention_mask.shape[1]
        self.prompt[clips] = nn.functional.pad(attention_mask.bool(), (shorter, 0))
        self.seen[clips] = False
        for layer, source in zip(self.dynamic.layers, read.layers, strict=True):
            layer.refill(clips, source.keys, source.values)

    def _make_room(self, seen: Tensor) -> Tensor:
        """Take out the places that no beam sees, and allow for more. Returns what is seen of the rest."""
        alive = seen.any(dim=1)
        left = int(alive.sum(dim=1).max())
        order = alive.long().argsort(dim=1, descending=True, stable=True)[:, :left]
        for layer in self._layers():
            layer.gather(order, left + self.width * STEPS_OF_ROOM)
        return seen.gather(2, order[:, None].expand(-1, self.width, -1))

    def _layers(self) -> list[_Layer]:
        return [layer for layer in self.dynamic.layers if layer.is_initialized]


class _Layer(DynamicLayer):
    """Keys and values in tensors that are larger than what they hold.

    room: places behind the prompt.
    """

    def __init__(self, room: int) -> None:
        super().__init__()
        self.room = room
        self.prompt_length = 0
        self.length = 0

    def update(self, key_states: Tensor, value_states: Tensor, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
            self.prompt_length = key_states.shape[2]
            self.keys = _with_room(key_states, self.room)
            self.values = _with_room(value_states, self.room)
            self.length = self.prompt_length
            return key_states, value_states
        start, self.length = self.length, self.length + key_states.shape[2]
        self.keys[:, :, start : self.length] = key_states
        self.values[:, :, start : self.length] = value_states
        return self.keys[:, :, : self.length], self.values[:, :, : self.length]

    def get_seq_length(self) -> int:
        return self.length

    def keep(self, clips: Tensor) -> None:
        self.keys, self.values = self.keys[clips], self.values[clips]

    def refill(self, clips: Tensor, keys: Tensor, values: Tensor) -> None:
        """Other prompts [n, H, L', C], which end where the prompts end."""
        start = self.prompt_length - keys.shape[2]
        self.keys[clips, :, start : self.prompt_length] = keys
        self.values[clips, :, start : self.prompt_length] = values

    def gather(self, places: Tensor, room: int) -> None:
        """Keep of what lies behind the prompt these places [B, n], and have `room` for so many."""
        self.keys, self.values = (self._gathered(tensor, places, room) for tensor in (self.keys, self.values))
        self.room = max(room, self.room)
        self.length = self.prompt_length + places.shape[1]

    def _gathered(self, tensor: Tensor, places: Tensor, room: int) -> Tensor:
        shape = (-1, tensor.shape[1], -1, tensor.shape[3])
        kept = tensor[:, :, self.prompt_length :].gather(2, places[:, None, :, None].expand(shape))
        if room > self.room:
            tensor = _with_room(tensor[:, :, : self.prompt_length], room)
        tensor[:, :, self.prompt_length : self.prompt_length + places.shape[1]] = kept
        return tensor


def _with_room(tensor: Tensor, room: int) -> Tensor:
    """[B, H, L, C] -> [B, H, L + room, C]"""
    shape = (*tensor.shape[:2], tensor.shape[2] + room, tensor.shape[3])
    larger = tensor.new_empty(shape)
    larger[:, :, : tensor.shape[2]] = tensor
    return larger
