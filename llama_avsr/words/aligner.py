"""The aligner: for each encoder of a model a small network that finds characters in its frames.

Letters: B clips, T frames of the encoder, C its width, U parts of a frame, V classes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from datamodules.batch import Padded
from llama_avsr.words.alignment import ctc_loss, path_loss, states
from llama_avsr.words.spelling import SILENCE, Spelling

Stretch = tuple[float, float]
"""Start and end, in seconds."""

WIDTH = 128
KERNEL = 5
MIN_RATE_HZ = 50.0
"""Frames of slower encoders are divided: a character may be shorter than a frame of lips."""
UNHEARD = -10.0
"""Is added to the logs of characters where nobody is heard."""
PRIOR_WEIGHT = 0.5
"""How far the classes' own frequencies are divided out, so that silence does not take all."""
MIN_PRIOR = 1e-4
PRIOR_DECAY = 0.97


class Head(nn.Module):
    """Two convolutions over time."""

    def __init__(self, dim: int, num_classes: int, parts: int) -> None:
        """parts: U, outputs for each frame."""
        super().__init__()
        self.parts = parts
        self.norm = nn.LayerNorm(dim)
        self.first = nn.Conv1d(dim, WIDTH, KERNEL, padding=KERNEL // 2)
        self.second = nn.Conv1d(WIDTH, WIDTH, KERNEL, padding=KERNEL // 2)
        self.out = nn.Linear(WIDTH, parts * num_classes)
        self.register_buffer("prior", torch.full((num_classes,), 1.0 / num_classes))

    def forward(self, frames: Padded) -> Padded:
        """Log-probabilities [B, U T, V] of frames [B, T, C]; a clip alone and in a batch gets the same."""
        inside = frames.mask[..., None]
        hidden = self.norm(frames.zeroed().values.float()) * inside
        hidden = functional.gelu(_over_time(self.first, hidden)) * inside
        hidden = hidden + functional.gelu(_over_time(self.second, hidden))
        outputs = self.out(hidden).unflatten(2, (self.parts, -1)).flatten(1, 2)
        return Padded(outputs.log_softmax(-1), frames.lengths * self.parts)

    def loss(
        self,
        frames: Padded,
        spelled: Sequence[Sequence[Sequence[int]]],
        settled: bool = True,
        unheard: Tensor | None = None,
    ) -> Tensor:
        """The mean over clips of the loss of a frame; the classes' frequencies are brought up to date.

        spelled: the classes of each word of each clip. settled: whether words have ends; if not, silence may
        lie between any two characters, which is CTC. unheard: [B, U T] bool, where silence is expected.
        """
        found = self(frames)
        with torch.no_grad():
            self.prior.lerp_(found.values[found.mask].exp().mean(0), 1 - PRIOR_DECAY)
        scores = found.values - self._discount
        if unheard is not None:
            characters_only = torch.arange(scores.shape[2], device=scores.device) != SILENCE
            scores = scores + UNHEARD * (unheard.to(scores.device)[..., None] & characters_only)
        if settled:
            losses = path_loss(scores, found.lengths, [states(words)[0] for words in spelled])
        else:
            characters = [[one for word in words for one in word] for words in spelled]
            losses = ctc_loss(scores, found.lengths, characters)
        return (losses / found.lengths.to(losses.device)).mean()

    @property
    def _discount(self) -> Tensor:
        return PRIOR_WEIGHT * self.prior.clamp(min=MIN_PRIOR).log()

    def scores(self, frames: Tensor) -> Tensor:
        """What one clip's frames [T, C] say of each class, [U T, V], for `alignment.align`."""
        alone = Padded(frames[None], torch.tensor([len(frames)]))
        return self(alone).values[0] - self._discount


class Aligner(nn.Module):
    """A head for each encoder of a model.

    dims: C by the encoders' names; rates_hz: their frames of a second.
    """

    def __init__(self, spelling: Spelling, dims: Mapping[str, int], rates_hz: Mapping[str, float]) -> None:
        super().__init__()
        self.spelling = spelling
        self.dims = dict(dims)
        self.rates_hz = dict(rates_hz)
        parts = {name: max(1, round(MIN_RATE_HZ / rate)) for name, rate in self.rates_hz.items()}
        self.heads = nn.ModuleDict(
            {name: Head(dim, spelling.num_classes, parts[name]) for name, dim in self.dims.items()}
        )

    def loss(
        self,
        frames: Mapping[str, Padded],
        texts: Sequence[str],
        settled: bool = True,
        voices: Sequence[Sequence[Stretch]] | None = None,
    ) -> Tensor:
        """The sum over the encoders.

        texts: what is said in each clip. settled: see `Head.loss`. voices: the stretches of each clip in
        which somebody is heard; none where that is not known.
        """
        spelled = [[self.spelling.spell(word) for word in text.split()] for text in texts]
        losses = []
        for name, own in frames.items():
            head = self.heads[name]
            num_frames = own.values.shape[1] * head.parts
            unheard = (
                None if voices is None else _outside(voices, num_frames, self.rates_hz[name] * head.parts)
            )
            losses.append(head.loss(own, spelled, settled, unheard))
        return sum(losses)

    def scores(self, frames: Mapping[str, Tensor]) -> tuple[Tensor, float]:
        """What is said of each class in one clip, by the encoder with most frames a second, and how many
        frames a second that has. frames: [T, C] by the encoders' names."""
        name = max(frames, key=lambda encoder: self.rates_hz[encoder])
        head = self.heads[name]
        return head.scores(frames[name]), self.rates_hz[name] * head.parts


def _outside(voices: Sequence[Sequence[Stretch]], num_frames: int, rate_hz: float) -> Tensor:
    """[B, T] bool: the frames of each clip that lie outside its stretches; nothing of a clip without any."""
    outside = torch.zeros(len(voices), num_frames, dtype=torch.bool)
    for clip, stretches in enumerate(voices):
        outside[clip] = bool(stretches)
        for start_s, end_s in stretches:
            outside[clip, max(0, int(start_s * rate_hz)) : int(end_s * rate_hz) + 1] = False
    return outside


def _over_time(convolution: nn.Conv1d, hidden: Tensor) -> Tensor:
    """[B, T, C] -> [B, T, WIDTH]"""
    return convolution(hidden.transpose(1, 2)).transpose(1, 2)
