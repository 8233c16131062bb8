"""Learned queries look at a clip's frames: as many as its duration and speech rate ask for (MMS-LLaMA).

Letters: B clips, T frames, S stretched frames, K queries, Q all queries, C width of a frame, D of a query.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from transformers import Blip2QFormerConfig, Blip2QFormerModel

from datamodules.batch import VIDEO_FPS, Padded
from llama_avsr.compressors import Heard, _speech_rate
from llama_avsr.compressors._speech_rate import SpeechRatePredictor
from llama_avsr.options.fields import option
from llama_avsr.options.values import PositiveFloat, PositiveInt, Probability
from llama_avsr.provenance import pretrained

FOLDS_BY_RATIO = False
TINY: dict[str, object] = {
    "qformer_queries_per_second": 3,
    "qformer_max_seconds": 20,
    "qformer_layers": 2,
    "qformer_width": 8,
    "qformer_heads": 2,
    "qformer_ffn_width": 12,
    "qformer_dropout": 0.0,
    "speech_rate_predictor": None,
}
SLOWEST, FASTEST = 1.0, 2.0
"""Between these the speech rate counts."""
QUERY_STD = 0.02


@dataclass(frozen=True, kw_only=True)
class Options:
    """Q-Former"""

    qformer_queries_per_second: PositiveInt = 3
    """Tokens for a second of average or slow speech, with --compression-mode qformer; the fastest gets twice
    as many."""
    qformer_max_seconds: PositiveFloat = 20
    """Duration for which there are queries even of the fastest speech; longer clips get no more tokens."""
    qformer_layers: PositiveInt = 2
    """Layers of the Q-Former."""
    qformer_width: PositiveInt = 1024
    """Width of a query, and so of a token."""
    qformer_heads: PositiveInt = 16
    """Attention heads of the Q-Former."""
    qformer_ffn_width: PositiveInt = 4096
    """Width of the Q-Former's feed-forward blocks."""
    qformer_dropout: Probability = 0.1
    """Dropout of the Q-Former, in training."""
    speech_rate_predictor: Path | None = option(None, may_differ=True)
    """File of a speech-rate predictor: the published one, or one's own (`llama-avsr pretrain-speech-rate`).
    Default: every clip counts as average speech."""


class Compressor(nn.Module):
    """Frames are stretched by the speech rate before the queries look at them."""

    ratio = 1
    units = None
    listens = True

    def __init__(
        self,
        network: Blip2QFormerModel,
        queries_per_second: int,
        max_seconds: float,
        predictor: SpeechRatePredictor | None,
    ) -> None:
        super().__init__()
        self.queries_per_second = queries_per_second
        count = math.ceil(max_seconds * queries_per_second * FASTEST)
        width = network.config.hidden_size
        self.query_tokens = nn.Parameter(torch.randn(1, count, width) * QUERY_STD)
        self.network = network
        self.predictor = predictor

    def num_tokens(self, frames: int) -> int:
        """Of frames at 25 Hz and the fastest speech."""
        return self._num_queries(frames / VIDEO_FPS, FASTEST)

    def out_dim(self, dim: int) -> int:
        return self.query_tokens.shape[2]

    def forward(self, frames: Padded, runs: object = None, heard: Heard | None = None) -> Padded:
        """[B, T, C] -> [B, K, D]. heard: default, frames at 25 Hz of speech at an average rate."""
        seconds = frames.lengths / VIDEO_FPS if heard is None else heard.seconds
        factors = self.factors(frames.lengths, heard)
        counts = [self._num_queries(s, f) for s, f in zip(seconds.tolist(), factors.tolist(), strict=True)]
        lengths = torch.tensor([count if n else 0 for count, n in zip(counts, frames.lengths, strict=True)])
        stretched = _stretched(frames, factors)
        queries = Padded(self.query_tokens[:, : int(lengths.max())].expand(len(frames), -1, -1), lengths)
        found = self.network(
            query_embeds=queries.values,
            attention_mask=_mask(queries),
            encoder_hidden_states=stretched.values,
            encoder_attention_mask=_mask(stretched),
        )
        return Padded(found.last_hidden_state, lengths)

    @torch.no_grad()
    def factors(self, lengths: Tensor, heard: Heard | None) -> Tensor:
        """How fast clips are spoken, [B] float64 on the CPU, between SLOWEST and FASTEST."""
        if self.predictor is None or heard is None or heard.sound is None:
            return torch.full(lengths.shape, SLOWEST, dtype=torch.float64)
        return self.predictor(heard.sound_at(_speech_rate.RATE_HZ)).cpu().double().clamp(SLOWEST, FASTEST)

    def _num_queries(self, seconds: float, factor: float) -> int:
        wanted = max(int(seconds * self.queries_per_second * factor), self.queries_per_second)
        return min(wanted, self.query_tokens.shape[1])


def _mask(padded: Padded) -> Tensor | None:
    """[B, T], or None where everything is valid. A clip of nothing looks everywhere: no softmax over
    nothing."""
    if bool((padded.lengths == padded.values.shape[1]).all()):
        return None
    return padded.mask | (padded.lengths == 0).to(padded.values.device)[:, None]


def _stretched(frames: Padded, factors: Tensor) -> Padded:
    """Linear interpolation of each clip to int(factor * T) frames: [B, T, C] -> [B, S, C].

    >>> frames = Padded.from_list([torch.tensor([[0.0], [3.0]])])
    >>> _stretched(frames, torch.tensor([1.5])).values.flatten().tolist()
    [0.0, 1.5, 3.0]
    """
    if bool((factors == 1).all()):
        return frames.zeroed()
    lengths = (frames.lengths * factors).long()
    scale = frames.lengths.double() / lengths.clamp(min=1)
    places = (torch.arange(int(lengths.max())) + 0.5) * scale[:, None] - 0.5
    places = places.clamp(min=0).minimum((frames.lengths - 1).clamp(min=0)[:, None])
    # A product of matrices: adding up by index gives another result every time on a GPU.
    weights = (1 - (places[..., None] - torch.arange(frames.values.shape[1])).abs()).clamp(min=0)
    return Padded(weights.to(frames.values) @ frames.zeroed().values, lengths)


def make(
    dim: int,
    ratio: int,
    qformer_queries_per_second: int,
    qformer_max_seconds: float,
    qformer_layers: int,
    qformer_width: int,
    qformer_heads: int,
    qformer_ffn_width: int,
    qformer_dropout: float,
    speech_rate_predictor: Path | None,
) -> Compressor:
    """Raises ValueError for sizes that do not fit, or a file that is no predictor."""
    if qformer_width % qformer_heads:
        raise ValueError(
            f"--qformer-heads {qformer_heads}: expected a divisor of --qformer-width {qformer_width}"
        )
    config = Blip2QFormerConfig(
        hidden_size=qformer_width,
        num_hidden_layers=qformer_layers,
        num_attention_heads=qformer_heads,
        intermediate_size=qformer_ffn_width,
        hidden_dropout_prob=qformer_dropout,
        attention_probs_dropout_prob=qformer_dropout,
        encoder_hidden_size=dim,
        cross_attention_frequency=1,
    )
    predictor = (
        None if speech_rate_predictor is None else pretrained(_speech_rate.load(speech_rate_predictor))
    )
    return Compressor(Blip2QFormerModel(config), qformer_queries_per_second, qformer_max_seconds, predictor)
