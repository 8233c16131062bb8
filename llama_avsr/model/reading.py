"""How an LLM reads a prompt and goes on from it, a token at a time for every beam.

Letters: B clips, W beams, N rows (beams of clips that are still decoded), L positions, D LLM width,
V vocabulary.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from enum import Enum
from functools import cache
from typing import Any, Protocol

import torch
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel
from transformers.modeling_outputs import ModelOutput

from llama_avsr.model.prompt import Sequences, splice


class Reading(Enum):
    """What an LLM is known to decode rightly with; `probe.examine` finds the fastest one."""

    CACHED = "with a cache, in batches"
    CLIP_BY_CLIP = "with a cache, one clip at a time"
    REREAD = "without a cache, reading everything again for every token"


class Reader(Protocol):
    """One batch's way through an LLM."""

    def read(self, prompt: Sequences, width: int) -> Tensor:
        """Logits [B * W, V] after the left-padded prompts, each repeated for every beam."""
        ...

    def step(self, rows: Tensor, tokens: Tensor) -> Tensor:
        """Logits [N, V] after one more token. rows: [N], of which row each continues; tokens: [N]."""
        ...


def reader(llm: PreTrainedModel, reading: Reading) -> Reader:
    return _Rereading(llm) if reading is Reading.REREAD else _Cached(llm)


class _Cached:
    def __init__(self, llm: PreTrainedModel) -> None:
        self.llm = llm
        self.cache = DynamicCache(config=llm.config)

    def read(self, prompt: Sequences, width: int) -> Tensor:
        logits = self._call(prompt.embeddings, prompt.attention_mask, prompt.position_ids)
        rows = torch.arange(len(logits), device=logits.device).repeat_interleave(width)
        self.cache.reorder_cache(rows)
        self.mask = prompt.attention_mask[rows]
        return logits[rows]

    def step(self, rows: Tensor, tokens: Tensor) -> Tensor:
        self.cache.reorder_cache(rows)
        self.mask = torch.cat([self.mask[rows], self.mask.new_ones(len(rows), 1)], dim=1)
        # Embedded here, as the targets are in training.
        embedded = self.llm.get_input_embeddings()(tokens[:, None])
        return self._call(embedded, self.mask, self.mask.sum(dim=1, keepdim=True) - 1)

    def _call(self, embeddings: Tensor, mask: Tensor, positions: Tensor) -> Tensor:
        output = call(
            self.llm,
            inputs_embeds=embeddings,
            attention_mask=mask,
            position_ids=positions,
            past_key_values=self.cache,
            use_cache=True,
            logits_to_keep=1,
        )
        return output.logits[:, -1]


class _Rereading:
    """The very call that training makes, so that whatever trains is decoded rightly, if slowly."""

    def __init__(self, llm: PreTrainedModel) -> None:
        self.llm = llm
        self.rows: list[Tensor] = []

    def read(self, prompt: Sequences, width: int) -> Tensor:
        rows = [row[-int(n) :] for row, n in zip(prompt.embeddings, prompt.lengths, strict=True)]
        self.rows = [row for row in rows for _ in range(width)]
        return self._last(rows).repeat_interleave(width, dim=0)

    def step(self, rows: Tensor, tokens: Tensor) -> Tensor:
        embedded = self.llm.get_input_embeddings()(tokens[:, None])
        self.rows = [
            torch.cat([self.rows[row], new]) for row, new in zip(rows.tolist(), embedded, strict=True)
        ]
        return self._last(self.rows)

    def _last(self, rows: Sequence[Tensor]) -> Tensor:
        """Logits [N, V] at the last position of every row."""
        sequences = splice([[row] for row in rows], "right")
        kept = sequences.embeddings.shape[1] - int(sequences.lengths.min()) + 1
        logits = read_whole(self.llm, sequences.embeddings, kept).logits
        last = sequences.lengths - 1 - (sequences.embeddings.shape[1] - kept)
        return logits[torch.arange(len(rows)), last.to(logits.device)]


def read_whole(llm: PreTrainedModel, embeddings: Tensor, kept: int, hidden: bool = False) -> ModelOutput:
    """Read right-padded sequences [N, L, D]. Returns `logits` [N, kept, V] of the last `kept` positions and,
    where `hidden`, `hidden_states`.

    Padding lies to the right of everything valid, where causal attention cannot see it: neither mask nor
    positions are needed, and attention takes its fastest path.
    """
    output = call(
        llm, inputs_embeds=embeddings, logits_to_keep=kept, output_hidden_states=hidden, use_cache=False
    )
    # Some LLMs do not know `logits_to_keep`, and give them all.
    output.logits = output.logits[:, -kept:]
    return output


def call(llm: PreTrainedModel, **arguments: Any) -> ModelOutput:
    """`llm(**arguments)` under the names that it has for them, without those it does not know."""
    known, takes_more = _parameters(type(llm))
    if "past_key_values" not in known and "cache_params" in known and "past_key_values" in arguments:
        arguments["cache_params"] = arguments.pop("past_key_values")
    if not takes_more:
        arguments = {name: value for name, value in arguments.items() if name in known}
    elif "position_ids" not in known:
        # An LLM that counts for itself hands unknown arguments on to where they mean nothing.
        arguments.pop("position_ids", None)
    return llm(**arguments)


@cache
def _parameters(kind: type[PreTrainedModel]) -> tuple[frozenset[str], bool]:
    """Names of the arguments of its forward pass, and whether it takes others as well."""
    parameters = inspect.signature(kind.forward).parameters
    return frozenset(parameters), any(p.kind is p.VAR_KEYWORD for p in parameters.values())


def position_limit(llm: PreTrainedModel) -> int | None:
    """Positions that the LLM was made for; None where its config names no limit."""
    limit = getattr(llm.config.get_text_config(decoder=True), "max_position_embeddings", None)
    return limit if isinstance(limit, int) and limit > 0 else None
