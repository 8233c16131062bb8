"""AV-HuBERT (Shi et al., 2022) for video, sound, or both.

Letters: B batch, T frames at 25 Hz, C encoder width.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

import av_hubert
from av_hubert import filterbanks
from datamodules.batch import VIDEO_FPS, Padded
from llama_avsr.options.values import Probability
from llama_avsr.provenance import pretrained

MEDIA = ("audio", "video")
MODEL_TYPES = ("av_hubert",)


@dataclass(frozen=True, kw_only=True)
class Options:
    """AV-HuBERT"""

    use_lora_avhubert: bool = False
    """Adapt AV-HuBERT with LoRA (bottleneck: a sixteenth of its width, scale 2)."""
    encoder_layer_drop: Probability | None = None
    """Share of AV-HuBERT's layers left out of a step while it is trained. Default, here and below: as its
    checkpoint says."""
    encoder_input_dropout: Probability | None = None
    """Dropout between AV-HuBERT's front ends and its transformer, while it is trained."""
    encoder_dropout: Probability | None = None
    """Dropout on the outputs of AV-HuBERT's blocks, while it is trained."""
    encoder_attention_dropout: Probability | None = None
    """Dropout on AV-HuBERT's attention weights, while it is trained."""
    encoder_activation_dropout: Probability | None = None
    """Dropout inside AV-HuBERT's feed-forward blocks, while it is trained."""


class AVHubertEncoder(nn.Module):
    """Encodes 88x88 mouth frames, stacked filterbanks, or both frame by frame."""

    frame_rate_hz = float(VIDEO_FPS)
    max_seconds = None
    prepare_audio = staticmethod(filterbanks.stacked)

    def __init__(self, encoder: av_hubert.AVHubert) -> None:
        super().__init__()
        self.encoder = encoder
        self.dim: int = encoder.config.dim

    def forward(self, *, audio: Padded | None = None, video: Padded | None = None) -> Padded:
        """audio: [B, T, 104], video: [B, T, 88, 88]; a missing one is treated as absent. Returns [B, T, C].

        Raises ValueError where both are given and their lengths differ.
        """
        inputs, lengths = self._inputs(audio, video)
        return Padded(self.encoder.extract(**inputs), lengths)

    def with_layer(
        self, layer: int, silent_audio: bool, *, audio: Padded | None = None, video: Padded | None = None
    ) -> tuple[Padded, Padded]:
        """What `forward` returns, and the raw output of `layer` beside it, for finding units.

        silent_audio: take that output from a pass in which a video that comes alone is joined by silence.
        """
        inputs, lengths = self._inputs(audio, video)
        final, features = self.encoder.extract_with_layer(**inputs, layer=layer, silent_audio=silent_audio)
        return Padded(final, lengths), Padded(features, lengths)

    def _inputs(self, audio: Padded | None, video: Padded | None) -> tuple[dict[str, Tensor | None], Tensor]:
        """Arguments of `AVHubert.extract`, and the lengths."""
        present = [medium for medium in (audio, video) if medium is not None]
        lengths = present[0].lengths
        if any(not torch.equal(medium.lengths, lengths) for medium in present):
            found = ", ".join(str(medium.lengths.tolist()) for medium in present)
            raise ValueError(f"AV-HuBERT needs as many frames of sound as of video, found {found}")
        mask = present[0].mask
        return {
            "video": None if video is None else self._cast(video).unsqueeze(1),
            "audio": None if audio is None else self._cast(audio).transpose(1, 2),
            "padding_mask": None if bool((lengths == mask.shape[1]).all()) else ~mask,
        }, lengths

    def _cast(self, medium: Padded) -> Tensor:
        return medium.values.to(next(self.encoder.parameters()).dtype)


def load(
    name: str,
    dtype: torch.dtype = torch.float32,
    use_lora_avhubert: bool = False,
    encoder_layer_drop: float | None = None,
    encoder_input_dropout: float | None = None,
    encoder_dropout: float | None = None,
    encoder_attention_dropout: float | None = None,
    encoder_activation_dropout: float | None = None,
) -> AVHubertEncoder:
    """Load AV-HuBERT. name: a fairseq `.pt`, or the folder it was converted to; the rest: see `Options`."""
    asked = {
        "layer_drop": encoder_layer_drop,
        "input_dropout": encoder_input_dropout,
        "dropout": encoder_dropout,
        "attention_dropout": encoder_attention_dropout,
        "activation_dropout": encoder_activation_dropout,
    }
    regularisation = {key: value for key, value in asked.items() if value is not None}
    model = pretrained(av_hubert.load_checkpoint(name, **regularisation).to(dtype))
    if use_lora_avhubert:
        model.add_lora()
    return AVHubertEncoder(model)


def tiny(folder: Path) -> str:
    """Writes a random AV-HuBERT of width 16."""
    torch.manual_seed(3)
    model = av_hubert.AVHubert(
        av_hubert.AVHubertConfig(
            num_layers=2,
            dim=16,
            ffn_dim=32,
            num_heads=2,
            conv_pos=16,
            conv_pos_groups=4,
            resnet_planes=(4, 4, 8, 8),
        )
    )
    av_hubert.save_pretrained(model, folder)
    return str(folder)
