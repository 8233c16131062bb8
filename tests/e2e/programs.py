"""Calls the entry scripts as a user does."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from tests.e2e.warm import ROOT, Warm

__all__ = ["ROOT", "environment", "run", "train_flags", "warm"]


_servers: dict[tuple[str, ...], Warm] = {}


def environment() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "WANDB_MODE": "offline"}


def warm() -> Warm:
    """A server for what libraries read of the environment when they are imported."""
    env = environment()
    key = tuple(sorted(f"{name}={env[name]}" for name in env if name.startswith(("HF_", "PYTHON"))))
    if key not in _servers:
        _servers[key] = Warm(env)
    return _servers[key]


def run(
    script: str, *flags: object, ok: bool = True, timeout: float = 300
) -> subprocess.CompletedProcess[str]:
    """Run a script of the repository's root with flags."""
    _, done = warm().run([str(ROOT / script), *map(str, flags)], environment(), timeout)
    if ok:
        assert done.returncode == 0, f"{script} failed:\n{done.stdout[-3000:]}\n{done.stderr[-6000:]}"
    return done


def train_flags(
    root: Path, runs: Path, made: dict[str, str], modality: str = "audio", **more: object
) -> list[object]:
    """Flags of a training that takes seconds. Keyword `lr=1` becomes `--lr 1`."""
    flags: dict[str, object] = {
        "root_dir": root,
        "exp_dir": runs,
        "train_file": "train.csv",
        "val_file": "val.csv",
        "test_file": "test.csv",
        "modality": modality,
        "llm_model": made["llm"],
        "audio_encoder_name": made["whisper"],
        "pretrain_avhubert_enc_video_path": made["av_hubert"],
        "pretrain_avhubert_enc_audiovisual_path": made["av_hubert"],
        "whisper_padding": "none",
        "intermediate_size": 24,
        "add_PETF_LLM": "lora",
        "lora_rank": 4,
        "prompt_audio": "transcribe speech to text .",
        "max_frames_audio": 90,
        "max_frames_video": 90,
        "max_frames_audiovisual": 90,
        "max_epochs": 3,
        "num_average_epochs": 2,
        "num_beams": 3,
        "max_dec_tokens": 6,
        "num_workers": 0,
        "log_every_n_steps": 1,
        "accelerator": "cpu",
        **more,
    }
    return [
        word
        for key, value in flags.items()
        for word in (f"--{key.replace('_', '-')}", *str(value).split("\t"))
    ]
