"""How an LLM reads a prompt and goes on from it, a token at a time for every beam.

Letters: B clips that are still decoded, W beams, L prompt positions, S places of the cache behind the prompt,
D LLM width, V vocabulary.
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

from llama_avsr.model.attention import Packed, sees_everything
from llama_avsr.model.prompt import Sequences, splice
from llama_avsr.model.shared_cache import SharedCache


class Reading(Enum):
    """What an LLM is known to decode rightly with; `probe.examine` finds the fastest one."""

    SHARED = "with one cache for all beams of a clip"
    CACHED = "with a cache for every beam"
    CLIP_BY_CLIP = "with a cache for every beam, one clip at a time"
    REREAD = "without a cache, reading everything again for every token"


class Reader(Protocol):
    """One batch's way through an LLM.

    refills: whether it can take up other clips on its way.
    """

    refills: bool

    def read(self, prompt: Sequences, width: int, steps: int) -> Tensor:
        """Logits [B, V] after the left-padded prompts. steps: how many tokens may follow."""
        ...

    def step(self, parents: Tensor, tokens: Tensor) -> Tensor:
        """Logits [B, W, V] after one more token. parents: which beam each continues; tokens: both [B, W]."""
        ...

    def keep(self, clips: Tensor) -> None:
        """Forget all but these clips. clips: [n] indices into the present ones."""
        ...

    def refill(self, clips: Tensor, prompt: Sequences) -> Tensor:
        """Read left-padded prompts, none longer than the first ones, in the places of these clips [n].
        Returns logits [n, V] after them."""
        ...


def reader(llm: PreTrainedModel, reading: Reading, length: int) -> Reader:
    """length: positions of prompt and text; where attention sees fewer, every beam has its own cache."""
    if reading is Reading.REREAD:
        return _Rereading(llm)
    if reading is Reading.SHARED and sees_everything(llm, length):
        return _Shared(llm)
    return _Cached(llm)


def going_on(llm: PreTrainedModel, cache: DynamicCache, width: int, steps: int) -> Reader:
    """A reader whose one prompt lies in `cache` already; for an LLM that reads `Reading.SHARED`.

    width: beams. steps: how many tokens may follow.
    """
    shared = _Shared(llm)
    shared.go_on(cache, width, steps)
    return shared


class _Shared:
    """The beams of a clip lie behind each other in one sequence; each sees the prompt and its own history.

    Nothing is copied when beams branch or end: what a beam sees is a matter of its mask.
    """

    refills = True

    def __init__(self, llm: PreTrainedModel) -> None:
        self.llm = llm

    def read(self, prompt: Sequences, width: int, steps: int) -> Tensor:
        self.cache = SharedCache(self.llm, width, steps)
        self.positions = prompt.lengths.to(prompt.embeddings.device)
        rows = (prompt.embeddings, prompt.attention_mask, prompt.position_ids)
        logits = read_cached(self.llm, *rows, self.cache.dynamic, kept=1)
        self.cache.start(prompt.attention_mask)
        return logits[:, -1]

    def go_on(self, cache: DynamicCache, width: int, steps: int) -> None:
        """As `read`, of one prompt that has been read into a cache, which stays as it is."""
        self.cache = SharedCache(self.llm, width, steps)
        self.cache.copy(cache)
        length, device = cache.get_seq_length(), self.llm.get_input_embeddings().weight.device
        self.positions = torch.tensor([length], device=device)
        self.cache.start(torch.ones(1, length, dtype=torch.int64, device=device))

    def step(self, parents: Tensor, tokens: Tensor) -> Tensor:
        mask = self.cache.branch(parents)
        positions = self.positions[:, None].expand_as(tokens)
        embedded = self.llm.get_input_embeddings()(tokens)
        # The kept logits of 0 are all of them.
        mask = mask.to(embedded.dtype)
        logits = read_cached(self.llm, embedded, mask, positions, self.cache.dynamic, kept=0)
        self.positions = self.positions + 1
        return logits

    def keep(self, clips: Tensor) -> None:
        self.cache.keep(clips)
        self.positions = self.positions[clips]

    def refill(self, clips: Tensor, prompt: Sequences) -> Tensor:
        cache = DynamicCache(config=self.llm.config)
        rows = (prompt.embeddings, prompt.attention_mask, prompt.position_ids)
        logits = read_cached(self.llm, *rows, cache, kept=1)
        self.cache.refill(clips, cache, prompt.attention_mask)
        self.positions[clips] = prompt.lengths.to(self.positions.device)
        return logits[:, -1]


class _Cached:
    refills = False

    def __init__(self, llm: PreTrainedModel) -> None:
        self.llm = llm
        self.cache = DynamicCache(config=llm.config)

    def read(self, prompt: Sequences, width: int, steps: int) -> Tensor:
        logits = read_cached(
            self.llm, prompt.embeddings, prompt.attention_mask, prompt.position_ids, self.cache, kept=1
        )
        self.width = width
        self.mask = prompt.attention_mask
        self._reorder(torch.arange(len(logits), device=logits.device).repeat_interleave(width))
        return logits[:, -1]

    def step(self, parents: Tensor, tokens: Tensor) -> Tensor:
        self._reorder((parents + self._first_rows(len(parents), parents.device)).flatten())
        self.mask = torch.cat([self.mask, self.mask.new_ones(len(self.mask), 1)], dim=1)
        # Embedded here, as the targets are in training.
        embedded = self.llm.get_input_embeddings()(tokens.flatten()[:, None])
        positions = self.mask.sum(dim=1, keepdim=True) - 1
        logits = read_cached(self.llm, embedded, self.mask, positions, self.cache, kept=1)
        return logits[:, -1].unflatten(0, parents.shape)

    def keep(self, clips: Tensor) -> None:
        beams = torch.arange(self.width, device=clips.device)
        self._reorder((clips[:, None] * self.width + beams).flatten())

    def _reorder(self, rows: Tensor) -> None:
        self.cache.reorder_cache(rows)
        self.mask = self.mask[rows]

    def _first_rows(self, clips: int, device: torch.device) -> Tensor:
        return torch.arange(clips, device=device)[:, None] * self.width


class _Rereading:
    """The very call that training makes, so that whatever trains is decoded rightly, if slowly."""

    refills = False

    def __init__(self, llm: PreTrainedModel) -> None:
        self.llm = llm
        self.clips: list[list[Tensor]] = []

    def read(self, prompt: Sequences, width: int, steps: int) -> Tensor:
        rows = [row[-int(n) :] for row, n in zip(prompt.embeddings, prompt.lengths, strict=True)]
        self.clips = [[row] * width for row in rows]
        return self._last(rows)

    def step(self, parents: Tensor, tokens: Tensor) -> Tensor:
        embedded = self.llm.get_input_embeddings()(tokens[..., None])
        self.clips = [
            [torch.cat([beams[parent], token]) for parent, token in zip(chosen, new, strict=True)]
            for beams, chosen, new in zip(self.clips, parents.tolist(), embedded, strict=True)
        ]
        return self._last([row for beams in self.clips for row in beams]).unflatten(0, parents.shape)

    def keep(self, clips: Tensor) -> None:
        self.clips = [self.clips[clip] for clip in clips.tolist()]

    def _last(self, rows: Sequence[Tensor]) -> Tensor:
        """Logits [N, V] at the last position of every row."""
        sequences = splice([[row] for row in rows], "right")
        kept = sequences.embeddings.shape[1] - int(sequences.lengths.min()) + 1
        logits = read_whole(self.llm, sequences.embeddings, kept).logits
        last = sequences.lengths - 1 - (sequences.embeddings.shape[1] - kept)
        return logits[torch.arange(len(rows)), last.to(logits.device)]


def read_cached(
    llm: PreTrainedModel, embeddings: Tensor, mask: Tensor, positions: Tensor, cache: DynamicCache, kept: int
) -> Tensor:
    """Logits [B, kept, V] of more embeddings [B, L, D] behind what the cache holds; it takes them up.

    mask: of all that is seen, the cache's included. kept: 0 for the logits of all L.
    """
    return call(
        llm,
        inputs_embeds=embeddings,
        attention_mask=mask,
        position_ids=positions,
        past_key_values=cache,
        use_cache=True,
        logits_to_keep=kept,
    ).logits


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


def read_padded(
    llm: PreTrainedModel, clips: Sequence[Tensor], wanted: Sequence[Tensor], hidden: bool = False
) -> tuple[Tensor, Sequence[Tensor] | None]:
    """Read clips [L_i, D] in one batch. wanted: positions in each clip whose logits are asked for.

    Returns logits [n, V] of all of these, clip by clip, and where `hidden` the hidden states, each [B, L, D].
    """
    embeddings = splice([[clip] for clip in clips], "right").embeddings
    # Everything before the first wanted position needs no logits.
    first = min(int(positions.min()) for positions in wanted if len(positions))
    kept = embeddings.shape[1] - first
    output = read_whole(llm, embeddings, kept, hidden)
    places = torch.cat([index * kept + positions - first for index, positions in enumerate(wanted)])
    logits = output.logits.flatten(0, 1)[places.to(embeddings.device, non_blocking=True)]
    return logits, output.hidden_states if hidden else None


def read_packed(llm: PreTrainedModel, clips: Sequence[Tensor], wanted: Sequence[Tensor]) -> Tensor:
    """The logits of `read_padded`, without padding: clips lie behind each other and do not see each other.

    For an LLM whose attention is `attention.attend`, as `probe.examine` finds out.
    """
    lengths = [len(clip) for clip in clips]
    embeddings = torch.cat(list(clips))[None]
    positions = torch.cat([torch.arange(length) for length in lengths])[None]
    starts = torch.tensor([0, *lengths[:-1]]).cumsum(0)
    places = torch.cat([start + inside for start, inside in zip(starts, wanted, strict=True)])
    places = places.to(embeddings.device, non_blocking=True)
    output = call(
        llm,
        inputs_embeds=embeddings,
        position_ids=positions.to(embeddings.device, non_blocking=True),
        attention_mask=embeddings.new_zeros(1, 1, 1, 1),  # spares the LLM making one
        packed=Packed.of(lengths, embeddings.device),
        logits_to_keep=places,
        use_cache=False,
    )
    # Some LLMs do not know `logits_to_keep`, and give them all.
    logits = output.logits[0]
    return logits if len(logits) == len(places) else logits[places]


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
