"""Batched, deterministic beam search over any causal LM of transformers.

The state of a search stays on its device: the host only looks, every few steps, which clips are decided.
Candidates, finishing and scores follow transformers' beam search: a hypothesis scores its sum of log
probabilities divided by (its length, end of text counted) ** length_penalty.
Letters: B clips that are still decoded, W beams, T tokens of the longest text, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import PreTrainedModel

from llama_avsr.model.prompt import Sequences
from llama_avsr.model.reading import Reader, Reading, reader
from llama_avsr.options import DecodingOptions

NEVER = -1e9
STEPS_UNSEEN = {"cpu": 1}
"""How many steps a device takes before the host looks which clips are decided; others: 4."""


@dataclass(frozen=True, kw_only=True)
class BeamSearch:
    """How to decode."""

    num_beams: int = DecodingOptions.num_beams
    max_new_tokens: int = DecodingOptions.max_dec_tokens
    length_penalty: float = DecodingOptions.length_penalty
    num_best: int = DecodingOptions.nbest


@dataclass(frozen=True)
class Hypothesis:
    score: float
    ids: list[int]
    """Without the end-of-text token."""
    finished: bool
    """False where it ran out of tokens before the end of the text."""


@torch.no_grad()
def beam_search(
    llm: PreTrainedModel,
    prompt: Sequences,
    eos: int,
    search: BeamSearch,
    reading: Reading = Reading.SHARED,
) -> list[list[Hypothesis]]:
    """Decode a batch: the `num_best` best hypotheses of every clip, best first. prompt: left-padded."""
    if reading is Reading.CLIP_BY_CLIP:
        clips = (prompt.clip(index) for index in range(len(prompt.embeddings)))
        return [_decode(llm, clip, eos, search, reading)[0] for clip in clips]
    return _decode(llm, prompt, eos, search, reading)


def _decode(
    llm: PreTrainedModel, prompt: Sequences, eos: int, search: BeamSearch, reading: Reading
) -> list[list[Hypothesis]]:
    read = reader(llm, reading, prompt.embeddings.shape[1] + search.max_new_tokens)
    logits = read.read(prompt, search.num_beams, search.max_new_tokens - 1)
    return search_from(read, logits, eos, search)


@torch.no_grad()
def search_from(read: Reader, logits: Tensor, eos: int, search: BeamSearch) -> list[list[Hypothesis]]:
    """The same, of prompts that have been read. logits: [B, V], behind them."""
    device, longest = logits.device, search.max_new_tokens
    logits = logits[:, None]
    beams = _Beams.of(len(logits), search, device)
    look_every = STEPS_UNSEEN.get(device.type, 4)
    found: list[list[Hypothesis]] = [[] for _ in logits]
    active = list(range(len(found)))

    for length in range(1, longest + 1):
        parents = beams.advance(logits, length, eos, search.length_penalty)
        if length % look_every == 0 and length < longest:
            decided = beams.decided.tolist()
            if any(decided):
                for row, hypotheses in beams.finished.hypotheses(decided).items():
                    found[active[row]] = hypotheses
                left = (~beams.decided).nonzero()[:, 0]
                active = [clip for clip, is_decided in zip(active, decided, strict=True) if not is_decided]
                if not active:
                    break
                beams, parents = beams.keep(left), parents[left]
                read.keep(left)
        if length < longest:
            logits = read.step(parents, beams.ids[..., length - 1])

    if active:
        beams.give_up(search.length_penalty)
        for row, hypotheses in beams.finished.hypotheses([True] * len(active)).items():
            found[active[row]] = hypotheses
    return [hypotheses[: search.num_best] for hypotheses in found]


@dataclass
class _Finished:
    """The W best hypotheses that every clip has finished, best first; scores of -inf fill up."""

    scores: Tensor
    """[B, W]"""
    ids: Tensor
    """[B, W, T]"""
    lengths: Tensor
    """[B, W], end of text left out."""
    ended: Tensor
    """[B, W] bool: whether the text ended by itself."""

    def add(self, scores: Tensor, ids: Tensor, length: int, ended: bool) -> None:
        """scores: [B, W], -inf where there is none; ids: [B, W, T]."""
        width = scores.shape[1]
        self.scores, order = torch.cat([self.scores, scores], dim=1).sort(dim=1, descending=True, stable=True)
        self.scores, order = self.scores[:, :width], order[:, :width]
        self.ids = _pick(torch.cat([self.ids, ids], dim=1), order)
        lengths = torch.full_like(self.lengths, length)
        self.lengths = torch.cat([self.lengths, lengths], dim=1).gather(1, order)
        self.ended = torch.cat([self.ended, torch.full_like(self.ended, ended)], dim=1).gather(1, order)

    def keep(self, clips: Tensor) -> _Finished:
        return _Finished(self.scores[clips], self.ids[clips], self.lengths[clips], self.ended[clips])

    def hypotheses(self, wanted: Sequence[bool]) -> dict[int, list[Hypothesis]]:
        """Of the clips that are `wanted`, by their row."""
        rows = [row for row, is_wanted in enumerate(wanted) if is_wanted]
        chosen = self.keep(torch.tensor(rows, device=self.scores.device))
        fields = (chosen.scores, chosen.ids, chosen.lengths, chosen.ended)
        return {
            row: [
                Hypothesis(score, ids[:length], ended)
                for score, ids, length, ended in zip(*clip, strict=True)
                if score > -torch.inf
            ]
            for row, *clip in zip(rows, *(tensor.tolist() for tensor in fields), strict=True)
        }


@dataclass
class _Beams:
    """The running hypotheses of every clip, best first, and those that have ended."""

    scores: Tensor
    """[B, W]: sums of log probabilities."""
    ids: Tensor
    """[B, W, T]"""
    finished: _Finished
    decided: Tensor
    """[B] bool: whether nothing that still runs could be better than what has finished."""

    @classmethod
    def of(cls, clips: int, search: BeamSearch, device: torch.device) -> _Beams:
        shape = (clips, search.num_beams)
        scores = torch.full(shape, NEVER, device=device)
        scores[:, 0] = 0.0  # at first all beams are equal: only one may branch
        ids = torch.zeros(*shape, search.max_new_tokens, dtype=torch.int64, device=device)
        counts = torch.zeros(shape, dtype=torch.int64, device=device)
        finished = _Finished(torch.full_like(scores, -torch.inf), ids, counts, counts.bool())
        return cls(scores, ids, finished, counts[:, 0].bool())

    def advance(self, logits: Tensor, length: int, eos: int, length_penalty: float) -> Tensor:
        """Take the best continuations. logits: [B, W, V], or [B, 1, V] for all alike; returns [B, W], which
        beam each goes on from."""
        width = self.scores.shape[1]
        scores, parents, tokens = self._candidates(logits)
        norm = length**length_penalty
        ends = (tokens[:, :width] == eos) & ~self.decided[:, None]
        self.finished.add(
            (scores[:, :width] / norm).masked_fill(~ends, -torch.inf),
            _pick(self.ids, parents[:, :width]),
            length - 1,
            ended=True,
        )
        self.decided = self.decided | (self.finished.scores[:, -1] >= scores[:, 0] / norm)
        # Of twice as many candidates, W remain though each beam may end.
        order = (tokens == eos).long().argsort(dim=1, stable=True)[:, :width]
        self.scores, parents, tokens = (tensor.gather(1, order) for tensor in (scores, parents, tokens))
        self.ids = _pick(self.ids, parents)
        self.ids[..., length - 1] = tokens
        return parents

    def _candidates(self, logits: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The 2 W best continuations of every clip, best first: scores, beams, tokens, each [B, 2 W]."""
        width = self.scores.shape[1]
        # The best of a clip are among the best of its rows: all but those never become probabilities.
        best, tokens = logits.float().topk(min(2 * width, logits.shape[-1]), dim=-1)
        best = best - logits.float().logsumexp(dim=-1, keepdim=True)
        scores = self.scores[..., None] + best
        per_row = best.shape[-1]
        scores, index = scores.flatten(1).topk(2 * width, dim=1)
        tokens = tokens.expand(-1, width, -1).flatten(1).gather(1, index)
        return scores, index // per_row, tokens

    def give_up(self, length_penalty: float) -> None:
        """Nothing more is written: what runs is taken as it stands, in clips that are not decided."""
        longest = self.ids.shape[2]
        scores = self.scores / longest**length_penalty
        self.finished.add(
            scores.masked_fill(self.decided[:, None], -torch.inf), self.ids, longest, ended=False
        )

    def keep(self, clips: Tensor) -> _Beams:
        return _Beams(self.scores[clips], self.ids[clips], self.finished.keep(clips), self.decided[clips])


def _pick(ids: Tensor, beams: Tensor) -> Tensor:
    """ids: [B, N, T], beams: [B, W]. The history of every chosen beam."""
    return ids.gather(1, beams[..., None].expand(-1, -1, ids.shape[2]))
