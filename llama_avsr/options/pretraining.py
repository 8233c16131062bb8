"""Options of `pretrain-video`: the encoder and its targets, and of a training's those that count there."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from llama_avsr.options.fields import group, option
from llama_avsr.options.groups import Options
from llama_avsr.options.model import TaskOptions
from llama_avsr.options.schema import Schema
from llama_avsr.options.values import PositiveInt, Probability

NAME = "av_hubert"
"""Folder of the result, in that of the run."""


@group()
class NetworkOptions:
    """Encoder"""

    start_from: Path | None = option(None, private=True)
    """AV-HuBERT to go on from: a .pt or a folder. Default: random weights, of the sizes below."""
    num_layers: PositiveInt = option(3, when=lambda o: o.network.start_from is None)
    """Transformer layers."""
    dim: PositiveInt = option(256, when=lambda o: o.network.start_from is None)
    """Width of the transformer; its feed-forward blocks are four times as wide."""
    num_heads: PositiveInt = option(4, when=lambda o: o.network.start_from is None)
    """Attention heads."""
    resnet_planes: tuple[PositiveInt, PositiveInt, PositiveInt, PositiveInt] = option(
        (16, 32, 64, 128), when=lambda o: o.network.start_from is None
    )
    """Channels of the ResNet's four stages."""
    video_side: PositiveInt | None = option(None, when=lambda o: o.network.start_from is None)
    """Side of the centre of the 88 x 88 mouth crop that the ResNet looks at, in pixels. 64 takes half the
    time. Default: all of it."""
    dropout: Annotated[float, Probability] = option(0.1, when=lambda o: o.network.start_from is None)
    """Dropout of the transformer."""


@group()
class TargetOptions:
    """Targets"""

    targets: tuple[Literal["characters", "words", "units"], ...] = ("characters",)
    """What the encoder learns to tell from the lips: the characters of the text (CTC); the word of each
    frame (--word-times-file); the unit of each frame, from the .km files of `prepare_data.py units` beside
    the label files. With several, their losses are added."""
    word_times_file: str | None = option(None, when=lambda o: "words" in o.target.targets)
    """File inside `labels/` that says when words are said (clip,word,start_s,end_s)."""
    max_words: PositiveInt = option(1000, when=lambda o: "words" in o.target.targets)
    """The most frequent words are told apart, up to so many; frames of others teach nothing."""


@dataclass(frozen=True, kw_only=True)
class PretrainingOptions(Options):
    network: NetworkOptions = field(default_factory=NetworkOptions)
    target: TargetOptions = field(default_factory=TargetOptions)
    goal: TaskOptions = field(default_factory=lambda: TaskOptions(modality="video"))

    @property
    def schema(self) -> Schema:
        return SCHEMA

    @property
    def trained_modules(self) -> tuple[str, ...]:
        return ("encoder",)

    @property
    def run_name(self) -> str:
        return self.run.exp_name or "lips"


SHARED = """
root_dir train_file val_file max_frames_video max_clips train_num_buckets num_workers video_augmentation
lr lr_schedule weight_decay adam_betas warmup_epochs warmup_steps hold_steps decay_steps init_lr_scale
final_lr_scale adam_eps max_epochs max_steps max_time_minutes accumulate_grad_batches gradient_clip
max_skipped_steps ckpt_path val_check_interval num_check_save num_average_epochs save_every_n_steps
test_max_frames gpus num_nodes accelerator precision deterministic seed
exp_dir exp_name logger project_wandb log_every_n_steps price_per_hour slurm_job_id
debug
"""
"""What it has in common with the training of a recogniser."""
OWN = "start_from num_layers dim num_heads resnet_planes video_side dropout targets word_times_file max_words"
SCHEMA = Schema(PretrainingOptions, only=frozenset(f"{SHARED} {OWN}".split()))


def problems(options: Any) -> list[str]:
    """What contradicts itself."""
    faults = []
    target, network = options.target, options.network
    if not target.targets:
        faults.append("--targets: found none, expected characters, words or units")
    if "words" in target.targets and target.word_times_file is None:
        faults.append(
            "--targets words needs --word-times-file: when words are said (prepare_data.py grid writes it)"
        )
    if network.dim % network.num_heads or network.dim % 16:
        faults.append(
            f"--dim {network.dim}: expected a multiple of 16 and of {network.num_heads} (--num-heads)"
        )
    return faults
