"""Batched, deterministic beam search over any causal LM of transformers.

The state of a search stays on its device: the host only looks, every few steps, which clips are decided.
Candidates, finishing and scores follow transformers' beam search: a hypothesis scores its sum of log
probabilities divided by (its length, end of text counted) ** length_penalty.
Letters: B clips that are decoded at a time, W beams, T tokens of the longest text, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count

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
    clips_at_once: int | None = DecodingOptions.clips_at_once
    """None for all clips of a batch."""


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
    num_clips, length = prompt.embeddings.shape[:2]
    at_once = 1 if reading is Reading.CLIP_BY_CLIP else min(search.clips_at_once or num_clips, num_clips)
    # The longest first, whose texts take longest: near the end little is left to wait for.
    order = torch.arange(num_clips)
    if at_once < num_clips:
        order = prompt.lengths.argsort(descending=True, stable=True)
    found: list[list[Hypothesis]] = []
    while len(found) < num_clips:
        read = reader(llm, reading, length + search.max_new_tokens)
        now, later = order[len(found) :].split([at_once, num_clips - len(found) - at_once])
        logits = read.read(prompt.clips(now), search.num_beams, search.max_new_tokens - 1)
        waiting = prompt.clips(later) if read.refills and len(later) else None
        found += search_from(read, logits, eos, search, waiting)
        at_once = min(at_once, num_clips - len(found))
    return [found[place] for place in order.argsort().tolist()]


@torch.no_grad()
def search_from(
    read: Reader, logits: Tensor, eos: int, search: BeamSearch, waiting: Sequences | None = None
) -> list[list[Hypothesis]]:
    """The same, of prompts that have been read. logits: [B, V], behind them.

    waiting: prompts, none longer than those, that take the places of clips that are decided; their
        hypotheses follow those of the others.
    """
    device, longest = logits.device, search.max_new_tokens
    look_every = STEPS_UNSEEN.get(device.type, 4)
    beams = _Beams.of(len(logits), search, device)
    found: dict[int, list[Hypothesis]] = {}
    active, written = list(range(len(logits))), [0] * len(logits)
    entered, last = len(active), len(active) + (0 if waiting is None else len(waiting.lengths))
    logits = logits[:, None]

    for step in count(1):
        parents = beams.advance(logits, eos, search.length_penalty)
        written = [tokens + 1 for tokens in written]
        entering: range = range(0)
        if longest in written:
            beams.give_up(search.length_penalty)
        if longest in written or step % look_every == 0:
            decided = [row for row, is_decided in enumerate(beams.decided.tolist()) if is_decided]
            for row, hypotheses in zip(decided, beams.finished.hypotheses(decided), strict=True):
                found[active[row]] = hypotheses
            entering = range(entered, min(entered + len(decided), last))
            for row, clip in zip(decided, entering, strict=False):
                active[row], written[row] = clip, 0
            leaving = decided[len(entering) :]
            if leaving:
                left = [row for row in range(len(active)) if row not in leaving]
                active, written = [active[row] for row in left], [written[row] for row in left]
                if not active:
                    break
                rows = torch.tensor(left, device=device)
                beams, parents = beams.keep(rows), parents[rows]
                read.keep(rows)
        logits = read.step(parents, beams.newest)
        if waiting is not None and entering:
            rows = torch.tensor([active.index(clip) for clip in entering], device=device)
            prompts = waiting.clips(torch.tensor(entering) - last + len(waiting.lengths))
            logits[rows] = read.refill(rows, prompts)[:, None]
            beams.restart(rows)
            entered = entering.stop
    return [found[clip][: search.num_best] for clip in range(last)]


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

    def add(self, scores: Tensor, ids: Tensor, lengths: Tensor, ended: bool) -> None:
        """scores: [B, W], -inf where there is none; ids: [B, W, T]; lengths: [B]."""
        width = scores.shape[1]
        self.scores, order = torch.cat([self.scores, scores], dim=1).sort(dim=1, descending=True, stable=True)
        self.scores, order = self.scores[:, :width], order[:, :width]
        self.ids = _pick(torch.cat([self.ids, ids], dim=1), order)
        lengths = lengths[:, None].expand_as(self.lengths)
        self.lengths = torch.cat([self.lengths, lengths], dim=1).gather(1, order)
        self.ended = torch.cat([self.ended, torch.full_like(self.ended, ended)], dim=1).gather(1, order)

    def keep(self, clips: Tensor) -> _Finished:
        return _Finished(self.scores[clips], self.ids[clips], self.lengths[clips], self.ended[clips])

    def hypotheses(self, rows: Sequence[int]) -> list[list[Hypothesis]]:
        """Of the clips in these rows."""
        chosen = self.keep(torch.tensor(rows, dtype=torch.int64, device=self.scores.device))
        fields = (chosen.scores, chosen.ids, chosen.lengths, chosen.ended)
        return [
            [
                Hypothesis(score, ids[:length], ended)
                for score, ids, length, ended in zip(*clip, strict=True)
                if score > -torch.inf
            ]
            for clip in zip(*(tensor.tolist() for tensor in fields), strict=True)
        ]


@dataclass
class _Beams:
    """The running hypotheses of every clip, best first, and those that have ended."""

    scores: Tensor
    """[B, W]: sums of log probabilities."""
    ids: Tensor
    """[B, W, T]"""
    lengths: Tensor
    """[B]: how many tokens the running ones have."""
    finished: _Finished
    decided: Tensor
    """[B] bool: whether nothing that still runs could be better than what has finished."""

    @classmethod
    def of(cls, clips: int, search: BeamSearch, device: torch.device) -> _Beams:
        shape = (clips, search.num_beams)
        scores = torch.empty(shape, device=device)
        ids = torch.zeros(*shape, search.max_new_tokens, dtype=torch.int64, device=device)
        counts = torch.zeros(shape, dtype=torch.int64, device=device)
        finished = _Finished(torch.empty_like(scores), ids, counts, counts.bool())
        beams = cls(scores, ids, counts[:, 0].clone(), finished, counts[:, 0].bool())
        beams.restart(torch.arange(clips, device=device))
        return beams

    @property
    def newest(self) -> Tensor:
        """[B, W]: the last token of each."""
        return self.ids.gather(2, self._place())[..., 0]

    def restart(self, clips: Tensor) -> None:
        """Begin these anew, with other clips."""
        # At first all beams are equal: only one may branch.
        self.scores[clips, :1], self.scores[clips, 1:] = 0.0, NEVER
        self.lengths[clips] = 0
        self.decided[clips] = False
        self.finished.scores[clips] = -torch.inf

    def advance(self, logits: Tensor, eos: int, length_penalty: float) -> Tensor:
        """Take the best continuations. logits: [B, W, V], or [B, 1, V] for all alike; returns [B, W], which
        beam each goes on from."""
        width = self.scores.shape[1]
        scores, parents, tokens = self._candidates(logits)
        self.lengths = self.lengths + 1
        norm = self._norm(length_penalty)
        ends = (tokens[:, :width] == eos) & ~self.decided[:, None]
        self.finished.add(
            (scores[:, :width] / norm).masked_fill(~ends, -torch.inf),
            _pick(self.ids, parents[:, :width]),
            self.lengths - 1,
            ended=True,
        )
        self.decided = self.decided | (self.finished.scores[:, -1] >= scores[:, 0] / norm[:, 0])
        # Of twice as many candidates, W remain though each beam may end.
        order = (tokens == eos).long().argsort(dim=1, stable=True)[:, :width]
        self.scores, parents, tokens = (tensor.gather(1, order) for tensor in (scores, parents, tokens))
        self.ids = _pick(self.ids, parents).scatter_(2, self._place(), tokens[..., None])
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
        """Take what runs as it stands, in clips that have no room for more tokens and are not decided."""
        over = (self.lengths == self.ids.shape[2]) & ~self.decided
        scores = (self.scores / self._norm(length_penalty)).masked_fill(~over[:, None], -torch.inf)
        self.finished.add(scores, self.ids, self.lengths, ended=False)
        self.decided = self.decided | over

    def keep(self, clips: Tensor) -> _Beams:
        rows = (self.scores[clips], self.ids[clips], self.lengths[clips])
        return _Beams(*rows, self.finished.keep(clips), self.decided[clips])

    def _norm(self, length_penalty: float) -> Tensor:
        """[B, 1]"""
        return (self.lengths.double() ** length_penalty).float()[:, None]

    def _place(self) -> Tensor:
        """[B, W, 1]: where the last tokens stand."""
        return (self.lengths - 1)[:, None, None].expand(-1, self.ids.shape[1], 1)


def _pick(ids: Tensor, beams: Tensor) -> Tensor:
    """ids: [B, N, T], beams: [B, W]. The history of every chosen beam."""
    return ids.gather(1, beams[..., None].expand(-1, -1, ids.shape[2]))
