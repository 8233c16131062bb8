"""Calls the entry scripts as a user does."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

from llama_avsr.demo.warm import Warm

ROOT = Path(__file__).parents[2]
_servers: dict[tuple[str, ...], Warm] = {}


def environment() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "WANDB_MODE": "offline"}


def run_warm(
    words: Sequence[str], env: Mapping[str, str], timeout: float
) -> tuple[int, subprocess.CompletedProcess[str]]:
    """(its session, what became of it) of `python WORDS`, as subprocess.run would.

    Raises subprocess.TimeoutExpired when it has been killed for taking too long.
    """
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        with _warm(env).start(words, env, ROOT, out.fileno(), err.fileno(), leads_session=True) as told:
            session = int(told.readline())
            in_time = select.select([told], [], [], timeout)[0]
            if not in_time:
                os.killpg(session, signal.SIGKILL)
            code = int(told.readline())
        said = [_read(file) for file in (out, err)]
    if not in_time:
        raise subprocess.TimeoutExpired(words, timeout, *said)
    return session, subprocess.CompletedProcess(words, code, *said)


def _read(file: IO[str]) -> str:
    file.seek(0)
    return file.buffer.read().decode(errors="replace")


def _warm(env: Mapping[str, str]) -> Warm:
    """A server for what libraries read of the environment when they are imported."""
    key = tuple(sorted(f"{name}={env[name]}" for name in env if name.startswith(("HF_", "PYTHON"))))
    if key not in _servers:
        _servers[key] = Warm(env, ROOT)
    return _servers[key]


def run(
    script: str, *flags: object, ok: bool = True, timeout: float = 300
) -> subprocess.CompletedProcess[str]:
    """Run a script of the repository's root with flags."""
    _, done = run_warm([str(ROOT / script), *map(str, flags)], environment(), timeout)
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
