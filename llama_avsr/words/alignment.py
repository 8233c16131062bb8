"""Which frames hold which word: every frame is a character of a word, or lies in the silence between two.

Unlike CTC's blank, silence is not allowed inside a word: each character lasts until the next begins, and so
words have ends. Pure functions of numbers. Letters: B clips, T frames, V classes, S states.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from llama_avsr.words.spelling import SILENCE

NEVER = -1e9


@dataclass(frozen=True)
class Placed:
    """Where a word is."""

    start_s: float
    end_s: float
    score: float
    """How much worse its characters are than the best classes of its frames: a mean of differences of logs,
    at most 0."""


def states(spelled: Sequence[Sequence[int]]) -> tuple[list[int], list[int]]:
    """The way through a clip: a class for each state, and the word that it belongs to (-1: to none).

    >>> states([[3, 1], [2]])
    ([0, 3, 1, 0, 2, 0], [-1, 0, 0, -1, 1, -1])
    """
    classes, words = [SILENCE], [-1]
    for index, word in enumerate(spelled):
        classes += [*word, SILENCE]
        words += [*[index] * len(word), -1]
    return classes, words


def path_loss(scores: Tensor, lengths: Tensor, ways: Sequence[Sequence[int]]) -> Tensor:
    """Minus the log of the summed probability of all paths through each clip's states, [B].

    A path starts and ends with a word or the silence beside it, stays or goes on, and may leave silence out.
    scores: [B, T, V], logs; lengths: [B] frames. ways: the classes of each clip's states (`states`).
    A clip with fewer frames than characters costs nothing.
    """
    device = scores.device
    counts = torch.tensor([len(way) for way in ways])
    classes = torch.nn.utils.rnn.pad_sequence([torch.tensor(way) for way in ways], batch_first=True)
    skips = functional.pad(classes[:, 1:-1] == SILENCE, (2, 0)).to(device)
    own = scores.gather(2, classes.to(device)[:, None].expand(-1, scores.shape[1], -1))
    reached = torch.full_like(own[:, 0], NEVER)
    reached[:, :2] = own[:, 0, :2]
    all_reached = [reached]
    for t in range(1, scores.shape[1]):
        before = functional.pad(reached, (2, 0), value=NEVER)
        ways_in = [reached, before[:, 1:-1], before[:, :-2].masked_fill(~skips, NEVER)]
        reached = torch.stack(ways_in).logsumexp(0) + own[:, t]
        all_reached.append(reached)
    clips = torch.arange(len(counts))
    at_end = torch.stack(all_reached, 1)[clips, lengths - 1]
    total = torch.logaddexp(at_end[clips, counts - 1], at_end[clips, counts - 2])
    return torch.where(total > NEVER / 2, -total, 0.0)


def ctc_loss(scores: Tensor, lengths: Tensor, spelled: Sequence[Sequence[int]]) -> Tensor:
    """The same, [B], if silence may also lie inside words, and must between two equal characters.

    spelled: the classes of each clip's characters.
    """
    return functional.ctc_loss(
        scores.transpose(0, 1),
        torch.tensor([one for clip in spelled for one in clip]).to(scores.device),
        lengths,
        torch.tensor([len(clip) for clip in spelled]),
        blank=SILENCE,
        reduction="none",
        zero_infinity=True,
    )


def align(scores: Tensor, spelled: Sequence[Sequence[int]], rate_hz: float) -> list[Placed] | None:
    """Where each word is, in order and apart; None where the words do not fit into the frames.

    scores: [T, V], logs, of one clip. spelled: the classes of each word; V stands for any character.
    rate_hz: frames of a second.
    """
    if not spelled:
        return []
    classes, words = states(spelled)
    if len(scores) < sum(len(word) for word in spelled):
        return None
    any_character = scores[:, SILENCE + 1 :].logsumexp(dim=1, keepdim=True)
    emissions = torch.cat([scores, any_character], dim=1).float().cpu().numpy()[:, classes]
    path = _best_path(emissions, np.array(classes))
    behind = emissions[np.arange(len(path)), path] - scores.max(dim=1).values.float().cpu().numpy()
    word_of = np.array(words)[path]
    placed = []
    for index in range(len(spelled)):
        (own,) = np.nonzero(word_of == index)
        score = min(0.0, float(behind[own].mean()))
        placed.append(Placed(own[0] / rate_hz, (own[-1] + 1) / rate_hz, score))
    return placed


def _best_path(emissions: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """Viterbi: the state of each frame, [T, S] -> [T]."""
    num_frames, num_states = emissions.shape
    skips = np.zeros(num_states, dtype=bool)
    skips[2:] = classes[1:-1] == SILENCE
    score = np.full(num_states, NEVER)
    score[:2] = emissions[0, :2]
    came = np.zeros((num_frames, num_states), dtype=np.int8)
    for t in range(1, num_frames):
        before = np.concatenate([[NEVER, NEVER], score])
        ways_in = np.stack([score, before[1:-1], np.where(skips, before[:-2], NEVER)])
        came[t] = ways_in.argmax(axis=0)
        score = ways_in.max(axis=0) + emissions[t]
    path = np.empty(num_frames, dtype=np.int64)
    path[-1] = num_states - 1 if score[-1] > score[-2] else num_states - 2
    for t in range(num_frames - 1, 0, -1):
        path[t - 1] = path[t] - came[t, path[t]]
    return path
