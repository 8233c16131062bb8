"""Whisper's encoder (Radford et al., 2022), with its log-mel computed on the encoder's device.

Letters: B batch, N samples, M mel bins, T frames at 50 Hz, C encoder width.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import WhisperConfig, WhisperFeatureExtractor, WhisperModel
from transformers.models.whisper.modeling_whisper import WhisperEncoder as HFWhisperEncoder

from datamodules.batch import SAMPLE_RATE_HZ, Padded
from llama_avsr.encoders._contract import keeps_clips_apart
from llama_avsr.encoders._waveform import as_read, normalise
from llama_avsr.provenance import pretrained

MEDIA = ("audio",)
MODEL_TYPES = ("whisper",)

FFT_SIZE = 400
HOP_SAMPLES = 160
SAMPLES_PER_FRAME = 2 * HOP_SAMPLES  # the second convolution halves 100 Hz to 50 Hz
MIN_FRAMES = 25  # the released models keep at least half a second
LengthRounding = Literal["exact", "float32", "bfloat16"]


@dataclass(frozen=True, kw_only=True)
class Options:
    """Whisper"""

    whisper_padding: Literal["30s", "none"] = "30s"
    """What Whisper encodes: every clip padded to 30 seconds, as published, or its real length only, which is
    faster."""
    whisper_length_rounding: Literal["exact", "float32", "bfloat16"] = "exact"
    """Arithmetic that counts Whisper's valid frames (50 Hz). Models trained by the original code in bf16 need
    bfloat16."""
    whisper_waveform: Literal["normalised", "as-read"] = "normalised"
    """What Whisper is given: waveforms of zero mean and unit variance, as in Llama-AVSR, or as they are in
    the files, as in MMS-LLaMA and as Whisper itself was trained."""


class WhisperEncoder(nn.Module):
    """Encodes 16 kHz waveforms.

    padding "30s" pads every clip to 30 s of silence as Whisper was trained and as the published models were
    adapted; "none" encodes the real length only, many times cheaper for short clips. Silence after a clip
    changes its frames, so the two are different encoders: a model keeps the one it was trained with.
    length_rounding tells in which arithmetic the number of valid frames is computed; releases trained in bf16
    keep a frame more or less for some lengths. waveform tells what clips are encoded as.
    """

    frame_rate_hz = SAMPLE_RATE_HZ / SAMPLES_PER_FRAME

    def __init__(
        self,
        encoder: HFWhisperEncoder,
        padding: Literal["30s", "none"] = "30s",
        length_rounding: LengthRounding = "exact",
        waveform: Literal["normalised", "as-read"] = "normalised",
    ) -> None:
        super().__init__()
        self.prepare_audio = normalise if waveform == "normalised" else as_read
        self.encoder = encoder
        self.padding = padding
        self.length_rounding = length_rounding
        self.dim: int = encoder.config.d_model
        self.max_frames: int = encoder.config.max_source_positions
        self.max_seconds = self.max_frames / self.frame_rate_hz
        filters = WhisperFeatureExtractor(feature_size=encoder.config.num_mel_bins).mel_filters
        self.register_buffer("mel_filters", torch.from_numpy(filters).float(), persistent=False)
        self.register_buffer("window", torch.hann_window(FFT_SIZE), persistent=False)

    def forward(self, *, audio: Padded, video: None = None) -> Padded:
        """audio: waveforms [B, N]. Returns [B, T, C]. Raises ValueError for a clip past 30 s."""
        limit = self.max_frames * SAMPLES_PER_FRAME
        longest = int(audio.lengths.max())
        if longest > limit:
            raise ValueError(
                f"Whisper takes at most {self.max_seconds:g} s of sound, found a clip of "
                f"{longest / SAMPLE_RATE_HZ:.2f} s; cut it, or leave it out with --max-frames-audio "
                f"{int(self.max_seconds * 25)}"
            )
        lengths = self.num_frames(audio.lengths)
        frames = self.max_frames if self.padding == "30s" else int(lengths.max())
        mel = self.log_mel(audio.zeroed().values, 2 * frames)
        if self.padding == "30s":
            return Padded(self._encode(mel, None, int(lengths.max())), lengths)
        ragged = int(lengths.min()) < frames
        mask = Padded(mel.new_empty(len(audio), frames), lengths).mask if ragged else None
        return Padded(self._encode(mel, mask, frames), lengths)

    def num_frames(self, samples: Tensor) -> Tensor:
        """Valid frames for clips of `samples` [B]."""
        return num_frames(samples, self.length_rounding).clamp(max=self.max_frames)

    @torch.autocast("cpu", enabled=False)
    @torch.autocast("cuda", enabled=False)
    def log_mel(self, waveforms: Tensor, num_mel_frames: int) -> Tensor:
        """waveforms: [B, N], silence after each end. Returns float32 [B, M, num_mel_frames] at 100 Hz."""
        samples = num_mel_frames * HOP_SAMPLES
        missing = max(samples - waveforms.shape[1], 0)
        # Reflection at the end must see silence, or a clip alone would differ from one in a batch.
        waveforms = functional.pad(
            waveforms.float(), (0, missing + (FFT_SIZE if self.padding == "none" else 0))
        )
        if self.padding == "30s":
            waveforms = waveforms[:, :samples]
        spectrum = torch.stft(
            waveforms, FFT_SIZE, HOP_SAMPLES, window=self.window.float(), return_complex=True
        )[..., :-1]
        mel = self.mel_filters.float().T @ spectrum.abs().square()
        log = mel.clamp(min=1e-10).log10()
        log = torch.maximum(log, log.amax(dim=(1, 2), keepdim=True) - 8.0)
        return ((log + 4.0) / 4.0)[..., :num_mel_frames]

    def _encode(self, mel: Tensor, mask: Tensor | None, wanted: int) -> Tensor:
        """mel: [B, M, 2 T], mask: [B, T] True where valid, or None where everything is. Returns the first
        frames, [B, wanted, C]."""
        net = self.encoder
        mel = mel.to(net.conv1.weight.dtype)
        # Either convolution sees zeros past a clip's end, as it would at the end of the clip alone.
        hidden = functional.gelu(net.conv1(_zero_past_end(mel, mask)))
        hidden = functional.gelu(net.conv2(_zero_past_end(hidden, mask))).transpose(1, 2)
        hidden = hidden + net.embed_positions.weight[: hidden.shape[1]]
        hidden = functional.dropout(hidden, p=net.dropout, training=net.training)
        attention_mask = None
        if mask is not None:
            attention_mask = torch.zeros(mask.shape, dtype=hidden.dtype, device=hidden.device)
            attention_mask = attention_mask.masked_fill(~mask, torch.finfo(hidden.dtype).min)[:, None, None]
        for depth, layer in enumerate(net.layers, start=1):
            if net.training and net.layerdrop > 0 and torch.rand(()) < net.layerdrop:
                continue
            if depth == len(net.layers):
                # What the last layer makes of the silence behind the clips is asked by nobody.
                seen = layer.self_attn_layer_norm(hidden)
                hidden = layer(hidden[:, :wanted], attention_mask, key_value_states=seen)
            else:
                hidden = layer(hidden, attention_mask)
        return net.layer_norm(hidden[:, :wanted])


def _zero_past_end(values: Tensor, mask: Tensor | None) -> Tensor:
    """values: [B, C, 2 T], mask: [B, T] or None."""
    return values if mask is None else values * mask.repeat_interleave(2, dim=1)[:, None]


def num_frames(samples: Tensor, rounding: LengthRounding = "exact") -> Tensor:
    """Valid 50 Hz frames for clips of `samples` [B] int64: max(int(samples / 16000 * 50), 25)."""
    if rounding == "exact":
        frames = samples // SAMPLES_PER_FRAME
    else:
        frames = (samples.to(getattr(torch, rounding)) / SAMPLE_RATE_HZ * 50).to(torch.int64)
    return frames.clamp(min=MIN_FRAMES)


def load(
    name: str,
    dtype: torch.dtype = torch.float32,
    whisper_padding: Literal["30s", "none"] = "30s",
    whisper_length_rounding: LengthRounding = "exact",
    whisper_waveform: Literal["normalised", "as-read"] = "normalised",
) -> WhisperEncoder:
    """Load the encoder of a Whisper model. name: hub name or folder."""
    model, report = WhisperModel.from_pretrained(name, dtype=torch.float32, output_loading_info=True)
    network = pretrained(model, missing=report["missing_keys"]).encoder
    encoder = WhisperEncoder(network, whisper_padding, whisper_length_rounding, whisper_waveform).eval()
    # Of clips that are all padded to 30 s none is masked, and trying would take seconds.
    if whisper_padding == "none" and not keeps_clips_apart(encoder):
        raise ValueError(
            f"--audio-encoder-name {name}: the frames that this encoder makes of a clip depend on the batch; "
            "expected one of the Whisper models, or --whisper-padding 30s"
        )
    encoder.encoder.to(dtype)  # the log-mel is computed in float32 always
    return encoder


def tiny(folder: Path) -> str:
    """Writes a random Whisper of width 16."""
    torch.manual_seed(1)
    config = WhisperConfig(
        d_model=16,
        encoder_layers=2,
        encoder_attention_heads=2,
        encoder_ffn_dim=32,
        decoder_layers=1,
        decoder_attention_heads=2,
        decoder_ffn_dim=16,
        vocab_size=10,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
        decoder_start_token_id=1,
        max_target_positions=8,
        num_mel_bins=80,
        init_std=0.2,
    )
    WhisperModel(config).save_pretrained(folder)
    return str(folder)
