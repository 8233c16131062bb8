"""Self-supervised waveform encoders: WavLM (Chen et al., 2022) and its relatives.

Letters: B batch, N samples, T frames at 50 Hz, C encoder width.
"""

from __future__ import annotations

import math
from pathlib import Path

import torch
from torch import Tensor, nn
from transformers import AutoModel, PreTrainedModel, WavLMConfig, WavLMModel

from datamodules.batch import SAMPLE_RATE_HZ, Padded
from llama_avsr.encoders._contract import keeps_clips_apart
from llama_avsr.encoders._waveform import normalise
from llama_avsr.provenance import pretrained

MEDIA = ("audio",)
MODEL_TYPES = ("wavlm", "wav2vec2", "hubert", "data2vec-audio", "unispeech-sat")


class WavLMEncoder(nn.Module):
    """Encodes layer-normed 16 kHz waveforms."""

    prepare_audio = staticmethod(normalise)
    max_seconds = None

    def __init__(self, encoder: PreTrainedModel) -> None:
        super().__init__()
        self.encoder = encoder
        config = encoder.config
        self.layers = [*zip(config.conv_kernel, config.conv_stride, strict=True)]
        """Kernel and stride of every layer that makes fewer frames of many."""
        adapter = getattr(config, "add_adapter", False)
        if adapter:
            # Padded by as much as makes its length that of a kernel of 1.
            self.layers += [(1, config.adapter_stride)] * config.num_adapter_layers
        self.dim: int = (adapter and config.output_hidden_size) or config.hidden_size
        self.frame_rate_hz = SAMPLE_RATE_HZ / math.prod(stride for _, stride in self.layers)
        self.one_by_one = False
        """Whether clips are encoded one at a time, for an encoder in which padding reaches into the clip."""

    def forward(self, *, audio: Padded, video: None = None) -> Padded:
        """audio: waveforms [B, N]. Returns [B, T, C]. Raises ValueError for a clip too short."""
        lengths = self.num_frames(audio.lengths)
        if int(lengths.min()) < 1:
            raise ValueError(
                f"found a clip of {int(audio.lengths.min())} samples, too short for one frame of the audio "
                "encoder (25 ms); leave it out of the label file"
            )
        waveforms = audio.zeroed().values.to(self.encoder.dtype)
        if self.one_by_one:
            clips = [
                self._encode(w[None, :n], None)[0] for w, n in zip(waveforms, audio.lengths, strict=True)
            ]
            return Padded.from_list(clips)
        ragged = int(audio.lengths.min()) < waveforms.shape[1]
        hidden = self._encode(waveforms, audio.mask if ragged else None)
        return Padded(hidden[:, : int(lengths.max())], lengths)

    def _encode(self, waveforms: Tensor, mask: Tensor | None) -> Tensor:
        attention_mask = None if mask is None else mask.long()
        return self.encoder(waveforms, attention_mask=attention_mask).last_hidden_state

    def num_frames(self, samples: Tensor) -> Tensor:
        """Frames for clips of `samples` [B]: what the strided convolutions leave."""
        for kernel, stride in self.layers:
            samples = torch.div(samples - kernel, stride, rounding_mode="floor") + 1
        return samples


def load(name: str, dtype: torch.dtype = torch.float32) -> WavLMEncoder:
    """Load WavLM, wav2vec 2.0 or HuBERT. name: hub name or folder.

    Raises ValueError for one whose frames of a clip depend on more than the clip.
    """
    model, report = AutoModel.from_pretrained(name, dtype=torch.float32, output_loading_info=True)
    encoder = WavLMEncoder(pretrained(model, missing=report["missing_keys"])).eval()
    if not keeps_clips_apart(encoder):
        # Group norm takes its statistics over time, stacked or strided convolutions carry padding inwards.
        encoder.one_by_one = True
        if not keeps_clips_apart(encoder):
            kind = encoder.encoder.config.model_type
            raise ValueError(
                f"--audio-encoder-name {name}: this encoder ({kind}) gives a clip other frames each time, or "
                "as many as its convolutions do not make; expected WavLM, wav2vec 2.0 or HuBERT"
            )
    return encoder.to(dtype)


def tiny(folder: Path) -> str:
    """Writes a random WavLM of width 16."""
    torch.manual_seed(2)
    config = WavLMConfig(
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        conv_dim=(8,) * 7,
        num_conv_pos_embeddings=8,
        num_conv_pos_embedding_groups=2,
        feat_extract_norm="layer",
        do_stable_layer_norm=True,
    )
    WavLMModel(config).save_pretrained(folder)
    return str(folder)
