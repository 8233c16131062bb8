"""AV-HuBERT (Shi et al., "Learning Audio-Visual Speech Representation by Masked Multimodal Cluster
Prediction", ICLR 2022), written from a description of what it computes.

Letters: B clips, T video frames (25 Hz), D width, L layers. Parameter names are the released checkpoints'.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from av_hubert.config import AVHubertConfig
from av_hubert.resnet import VideoFrontEnd
from av_hubert.transformer import LORA_DIM_PER_RANK, Transformer

INIT_STD = 0.02


class AudioFrontEnd(nn.Module):
    """A projection of stacked filterbanks. [B, audio_dim, T] -> [B, T, D]."""

    def __init__(self, audio_dim: int, dim: int) -> None:
        super().__init__()
        self.proj = nn.Linear(audio_dim, dim)

    def forward(self, audio: Tensor, padding_mask: Tensor | None = None) -> Tensor:
        frames = audio.transpose(1, 2)
        if padding_mask is not None:
            frames = frames.masked_fill(padding_mask[:, :, None], 0)
        return self.proj(frames)


class AVHubert(nn.Module):
    """The pretrained encoder of speech heard, seen, or both.

    New instances start from random weights; `av_hubert.load_checkpoint` gives trained ones.
    """

    def __init__(self, config: AVHubertConfig) -> None:
        super().__init__()
        self.config = config
        fused_dim = 2 * config.dim if config.fusion == "concat" else config.dim
        self.feature_extractor_audio = AudioFrontEnd(config.audio_dim, config.dim)
        self.feature_extractor_video = VideoFrontEnd(
            config.resnet_planes, config.resnet_activation, config.dim, config.video_side
        )
        self.post_extract_proj = nn.Linear(fused_dim, config.dim) if config.fusion == "concat" else None
        self.encoder = Transformer(config)
        self.layer_norm = nn.LayerNorm(fused_dim)
        self.apply(_init_linear)
        if config.lora_rank:
            self._add_lora(config.lora_rank)

    @property
    def dim(self) -> int:
        """D, the width of every output."""
        return self.config.dim

    @property
    def num_layers(self) -> int:
        """L, the last value `extract` takes for `layer`."""
        return self.config.num_layers

    @property
    def gradient_checkpointing(self) -> bool:
        """Recompute activations in the backward pass instead of keeping them.

        The ResNet takes part in eval mode only: in training mode its BatchNorm would count every clip twice.
        """
        return self.encoder.gradient_checkpointing

    @gradient_checkpointing.setter
    def gradient_checkpointing(self, enabled: bool) -> None:
        self.encoder.gradient_checkpointing = enabled
        self.feature_extractor_video.gradient_checkpointing = enabled

    def add_lora(self, rank: int | None = None) -> None:
        """Add LoRA on q and v of every layer, starting as the identity; `rank` defaults to D / 16.

        Raises ValueError where the model already has it.
        """
        if self.config.lora_rank:
            raise ValueError(f"this model already has LoRA of rank {self.config.lora_rank}; add it once")
        rank = self.config.dim // LORA_DIM_PER_RANK if rank is None else rank
        if rank < 1:
            raise ValueError(f"LoRA rank: found {rank}, expected 1 or more")
        self._add_lora(rank)
        self.config = replace(self.config, lora_rank=rank)

    def extract(
        self,
        video: Tensor | None = None,
        audio: Tensor | None = None,
        padding_mask: Tensor | None = None,
        layer: int | None = None,
    ) -> Tensor:
        """Features of clips given as video, audio, or both. Gradients flow; the caller decides on no_grad.

        video: [B, 1, T, 88, 88] normalised grey frames (other sizes work too).
        audio: [B, 104, T] stacked filterbanks (`av_hubert.filterbanks.stacked`, transposed).
        padding_mask: [B, T] bool, True where padded. What lies in padded frames changes no valid output.
        layer: None for the final output; k in 1..L for the raw output of layer k; 0 for the transformer's
            input, zeros in the padding.
        Returns [B, T, D]; outputs at padded frames mean nothing (they are finite).
        Raises ValueError where shapes disagree or `layer` does not exist.
        """
        _check_inputs(self.config, video, audio, padding_mask, layer)
        x = self._fuse_masked(
            None if video is None else self.feature_extractor_video(video, padding_mask),
            None if audio is None else self.feature_extractor_audio(audio, padding_mask),
            padding_mask,
        )
        return x if layer == 0 else self.encoder(x, padding_mask, layer)

    def extract_with_layer(
        self,
        video: Tensor | None = None,
        audio: Tensor | None = None,
        padding_mask: Tensor | None = None,
        *,
        layer: int,
        silent_audio: bool,
    ) -> tuple[Tensor, Tensor]:
        """The final output, and the raw output of layer k for units, with the video front end run once.

        silent_audio: where no audio is given, layer k is what `extract` gives beside an audio tensor of
            zeros, whose projection's bias takes part: k layers run twice. Otherwise both outputs come from
            one pass over the same input.
        Shapes and errors as for `extract`; layer k in 0..L. Gradients flow through the final output alone.
        """
        _check_inputs(self.config, video, audio, padding_mask, layer)
        seen = None if video is None else self.feature_extractor_video(video, padding_mask)
        heard = None if audio is None else self.feature_extractor_audio(audio, padding_mask)
        x = self._fuse_masked(seen, heard, padding_mask)
        if silent_audio and audio is None:
            with torch.no_grad():
                silence = self.feature_extractor_audio.proj.bias.to(seen.dtype).expand_as(seen)
                tapped = self._fuse_masked(seen, silence, padding_mask)
                if layer > 0:
                    tapped = self.encoder(tapped, padding_mask, layer)
            return self.encoder(x, padding_mask), tapped
        if layer == 0:
            return self.encoder(x, padding_mask), x.detach()
        final, tapped = self.encoder.forward_with_layer(x, padding_mask, layer)
        return final, tapped.detach()

    def fuse(self, video: Tensor | None, audio: Tensor | None) -> Tensor:
        """Join the front ends' outputs, each [B, T, D] or None, into the transformer's input [B, T, D]."""
        # A modality that is missing is zeros here, after its projection, and counts in the layer norm.
        video = torch.zeros_like(audio) if video is None else video
        audio = torch.zeros_like(video) if audio is None else audio
        x = torch.cat([audio, video], dim=2) if self.post_extract_proj is not None else audio + video
        x = self.layer_norm(x)
        if self.post_extract_proj is not None:
            x = self.post_extract_proj(x)
        return F.dropout(x, self.config.input_dropout, self.training)

    def _fuse_masked(self, video: Tensor | None, audio: Tensor | None, padding_mask: Tensor | None) -> Tensor:
        x = self.fuse(video, audio)
        return x if padding_mask is None else x.masked_fill(padding_mask[:, :, None], 0)

    def forward(
        self,
        video: Tensor | None = None,
        audio: Tensor | None = None,
        padding_mask: Tensor | None = None,
        layer: int | None = None,
    ) -> Tensor:
        """As `extract`, so that wrappers around `forward` (DDP, torch.compile) work."""
        return self.extract(video, audio, padding_mask, layer)

    def _add_lora(self, rank: int) -> None:
        for block in self.encoder.layers:
            block.self_attn.add_lora(rank)


def _init_linear(module: nn.Module) -> None:
    if isinstance(module, nn.Linear):
        nn.init.normal_(module.weight, std=INIT_STD)
        nn.init.zeros_(module.bias)


def _check_inputs(
    config: AVHubertConfig,
    video: Tensor | None,
    audio: Tensor | None,
    padding_mask: Tensor | None,
    layer: int | None,
) -> None:
    if video is None and audio is None:
        raise ValueError("AVHubert.extract: found neither video nor audio, expected at least one")
    if video is not None and (video.dim() != 5 or video.shape[1] != 1):
        raise ValueError(f"video: found shape {list(video.shape)}, expected [B, 1, T, 88, 88]")
    if audio is not None and (audio.dim() != 3 or audio.shape[1] != config.audio_dim):
        raise ValueError(f"audio: found shape {list(audio.shape)}, expected [B, {config.audio_dim}, T]")
    shapes = {
        "video": None if video is None else (video.shape[0], video.shape[2]),
        "audio": None if audio is None else (audio.shape[0], audio.shape[2]),
        "padding_mask": None if padding_mask is None else tuple(padding_mask.shape),
    }
    given = {name: shape for name, shape in shapes.items() if shape is not None}
    if len(set(given.values())) > 1:
        found = ", ".join(f"{name} {tuple(shape)}" for name, shape in given.items())
        raise ValueError(f"clips and frames [B, T] disagree: {found}; cut or pad them to the same")
    if padding_mask is not None and padding_mask.dtype != torch.bool:
        raise ValueError(f"padding_mask: found {padding_mask.dtype}, expected torch.bool, True where padded")
    if layer is not None and not 0 <= layer <= config.num_layers:
        raise ValueError(f"layer: found {layer}, expected None or 0 to {config.num_layers}")
