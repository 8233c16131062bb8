"""Options of `pretrain-speech-rate`: the predictor, and of a training's those that count there."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from llama_avsr.options.fields import group
from llama_avsr.options.groups import Options
from llama_avsr.options.model import TaskOptions
from llama_avsr.options.schema import Schema
from llama_avsr.options.values import PositiveFloat, PositiveInt, Probability


@group()
class PredictorOptions:
    """Predictor"""

    predictor_layers: PositiveInt = 2
    """Transformer layers."""
    predictor_dim: PositiveInt = 256
    """Width of the transformer, a multiple of 16; its feed-forward blocks are four times as wide."""
    predictor_dropout: Probability = 0.1
    """Dropout of the transformer."""
    average_words_per_second: PositiveFloat = 2.707
    """Words a second that count as rate 1; the default is that of LRS3's manifests."""


@dataclass(frozen=True, kw_only=True)
class SpeechRateOptions(Options):
    predictor: PredictorOptions = field(default_factory=PredictorOptions)
    goal: TaskOptions = field(default_factory=lambda: TaskOptions(modality="audio"))

    @property
    def schema(self) -> Schema:
        return SCHEMA

    @property
    def trained_modules(self) -> tuple[str, ...]:
        return ("predictor",)

    @property
    def run_name(self) -> str:
        return self.run.exp_name or "speech_rate"


SHARED = """
root_dir train_file val_file max_frames_audio max_clips train_num_buckets num_workers path_prefix
audio_encoder_name pretrain_avhubert_enc_audio_path whisper_padding whisper_waveform
noise_file train_snr_levels
lr lr_schedule weight_decay adam_betas warmup_epochs warmup_steps hold_steps decay_steps init_lr_scale
final_lr_scale adam_eps max_epochs max_steps max_time_minutes accumulate_grad_batches gradient_clip
max_skipped_steps ckpt_path val_check_interval num_check_save num_average_epochs save_every_n_steps
test_max_frames gpus num_nodes accelerator precision deterministic seed
exp_dir exp_name logger project_wandb log_every_n_steps price_per_hour slurm_job_id debug
"""
"""What it has in common with the training of a recogniser."""
OWN = "predictor_layers predictor_dim predictor_dropout average_words_per_second"
SCHEMA = Schema(SpeechRateOptions, ("encoders", "formats"), only=frozenset(f"{SHARED} {OWN}".split()))


def problems(options: Any) -> Iterator[str]:
    """What is missing, or contradicts itself."""
    if options.encoder.audio_encoder_name is None:
        yield "--audio-encoder-name is missing: the encoder in whose frames the rate is to be found"
    if options.predictor.predictor_dim % 16:
        yield f"--predictor-dim {options.predictor.predictor_dim}: expected a multiple of 16"
