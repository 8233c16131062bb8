"""Batched, deterministic beam search over any causal LM of transformers.

Candidates, finishing and scores follow transformers' beam search: a hypothesis scores its sum of log
probabilities divided by (its length, end of text counted) ** length_penalty.
Letters: B clips, W beams, L prompt positions, V vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor
from transformers import PreTrainedModel

from llama_avsr.model.prompt import Sequences
from llama_avsr.model.reading import Reading, reader
from llama_avsr.options import DecodingOptions

NEVER = -1e9


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


@dataclass
class _Clip:
    """The hypotheses that one clip has finished."""

    width: int
    finished: list[Hypothesis] = field(default_factory=list)

    def add(self, hypothesis: Hypothesis) -> None:
        self.finished.append(hypothesis)
        self.finished.sort(key=lambda h: -h.score)
        del self.finished[self.width :]

    def beaten(self, best_possible: float) -> bool:
        return len(self.finished) == self.width and self.finished[-1].score >= best_possible


@torch.no_grad()
def beam_search(
    llm: PreTrainedModel,
    prompt: Sequences,
    eos: int,
    search: BeamSearch,
    reading: Reading = Reading.CACHED,
) -> list[list[Hypothesis]]:
    """Decode a batch: the `num_best` best hypotheses of every clip, best first. prompt: left-padded."""
    if reading is Reading.CLIP_BY_CLIP:
        clips = (prompt.clip(index) for index in range(len(prompt.embeddings)))
        return [_decode(llm, clip, eos, search, reading)[0] for clip in clips]
    return _decode(llm, prompt, eos, search, reading)


def _decode(
    llm: PreTrainedModel, prompt: Sequences, eos: int, search: BeamSearch, reading: Reading
) -> list[list[Hypothesis]]:
    width = search.num_beams
    device = prompt.embeddings.device
    read = reader(llm, reading)
    logits = read.read(prompt, width)
    clips = [_Clip(width) for _ in range(len(prompt.embeddings))]
    active = list(range(len(clips)))
    scores = torch.full((len(clips), width), NEVER, device=device)
    scores[:, 0] = 0.0  # at first all beams are equal: only one may branch
    ids = torch.empty(len(clips), width, 0, dtype=torch.int64, device=device)

    for length in range(1, search.max_new_tokens + 1):
        best = _Candidates.from_logits(logits, scores)
        done = _collect_finished(best, ids, eos, length, search, [clips[i] for i in active])
        keep = best.running(eos, width)
        ids = torch.cat([_pick(ids, keep.beams), keep.tokens[..., None]], dim=2)
        scores = keep.scores
        rows = keep.beams + torch.arange(len(active), device=device)[:, None] * width
        if any(done):
            left = [i for i, is_done in enumerate(done) if not is_done]
            active = [active[i] for i in left]
            ids, scores, rows = ids[left], scores[left], rows[left]
        if not active or length == search.max_new_tokens:
            break
        logits = read.step(rows.flatten(), ids[..., -1].flatten())

    _collect_unfinished(ids, scores, search, [clips[i] for i in active])
    return [clip.finished[: search.num_best] for clip in clips]


@dataclass(frozen=True)
class _Candidates:
    """The best continuations of every clip, best first; each [B, n]."""

    scores: Tensor
    beams: Tensor
    tokens: Tensor

    @classmethod
    def from_logits(cls, logits: Tensor, scores: Tensor) -> _Candidates:
        """logits: [B * W, V], scores: [B, W]. Twice W candidates: W remain though each beam may end."""
        clips, width = scores.shape
        log_probs = logits.float().log_softmax(dim=-1).view(clips, width, -1) + scores[..., None]
        best, index = log_probs.flatten(1).topk(2 * width, dim=1)
        return cls(best, index // log_probs.shape[2], index % log_probs.shape[2])

    def running(self, eos: int, width: int) -> _Candidates:
        """The W best that do not end the text."""
        order = (self.tokens == eos).long().argsort(dim=1, stable=True)[:, :width]
        return _Candidates(
            self.scores.gather(1, order), self.beams.gather(1, order), self.tokens.gather(1, order)
        )


def _collect_finished(
    best: _Candidates, ids: Tensor, eos: int, length: int, search: BeamSearch, clips: list[_Clip]
) -> list[bool]:
    """Move the candidates that end the text to their clips; tells which clips are decided."""
    width = search.num_beams
    scores, beams = best.scores.tolist(), best.beams.tolist()
    ends = (best.tokens[:, :width] == eos).tolist()
    done = []
    for row, clip in enumerate(clips):
        for rank in range(width):
            if ends[row][rank]:
                score = scores[row][rank] / length**search.length_penalty
                clip.add(Hypothesis(score, ids[row, beams[row][rank]].tolist(), True))
        done.append(clip.beaten(scores[row][0] / length**search.length_penalty))
    return done


def _collect_unfinished(ids: Tensor, scores: Tensor, search: BeamSearch, clips: list[_Clip]) -> None:
    norm = ids.shape[2] ** search.length_penalty
    for clip, beams, sums in zip(clips, ids.tolist(), scores.tolist(), strict=True):
        for tokens, total in zip(beams, sums, strict=True):
            clip.add(Hypothesis(total / norm, tokens, False))


def _pick(ids: Tensor, beams: Tensor) -> Tensor:
    """ids: [B, W, n], beams: [B, W]. The history of every chosen beam."""
    return ids.gather(1, beams[..., None].expand(-1, -1, ids.shape[2]))
