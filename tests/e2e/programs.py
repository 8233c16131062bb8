"""Calls the entry scripts as a user does."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from llama_avsr.demo.warm import Warm
from tests.e2e import peers

ROOT = Path(__file__).parents[2]
_servers: dict[tuple[str, ...], Warm] = {}


def environment(**more: str) -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "WANDB_MODE": "offline", **more}


@dataclass
class Program:
    """One that runs in a fork."""

    words: list[str]
    session: int
    """Its process id, and that of the session it leads."""
    told: IO[str]
    out: IO[str]
    err: IO[str]

    @property
    def errors(self) -> str:
        """What it has said so far."""
        return _read(self.err)

    def has_ended(self, timeout: float = 0.0) -> bool:
        return bool(select.select([self.told], [], [], timeout)[0])

    def wait(self, timeout: float) -> subprocess.CompletedProcess[str]:
        """What became of it; below 0 the signal that killed it.

        Raises subprocess.TimeoutExpired when it has been killed for taking too long.
        """
        in_time = self.has_ended(timeout)
        if not in_time:
            os.killpg(self.session, signal.SIGKILL)
        with self.told, self.out, self.err:
            code, said = int(self.told.readline()), (_read(self.out), _read(self.err))
        if not in_time:
            raise subprocess.TimeoutExpired(self.words, timeout, *said)
        return subprocess.CompletedProcess(self.words, code, *said)


def start(words: Sequence[object], env: Mapping[str, str], root: Path = ROOT) -> Program:
    """`python WORDS`, with the code of the checkout `root`; all its processes are forks."""
    given = list(map(str, words))
    orders = ["-m", "tests.e2e.peers", *given] if peers.count(given) else given
    out, err = tempfile.TemporaryFile("w+"), tempfile.TemporaryFile("w+")  # noqa: SIM115 (`wait` closes)
    told = _warm(env, root).start(orders, env, root, out.fileno(), err.fileno(), leads_session=True)
    return Program(given, int(told.readline()), told, out, err)


def run_warm(
    words: Sequence[object], env: Mapping[str, str], timeout: float, root: Path = ROOT
) -> tuple[int, subprocess.CompletedProcess[str]]:
    """(its session, what became of it), as `start` and `wait`."""
    program = start(words, env, root)
    return program.session, program.wait(timeout)


def _read(file: IO[str]) -> str:
    """All of it; the program writes at the file's own position, which stays."""
    return os.pread(file.fileno(), os.fstat(file.fileno()).st_size, 0).decode(errors="replace")


def _warm(env: Mapping[str, str], root: Path) -> Warm:
    """A server for what libraries read of the environment when they are imported."""
    read = (name for name in env if name.startswith(("HF_", "PYTHON")) and name != "HF_TOKEN")
    key = (str(root), *sorted(f"{name}={env[name]}" for name in read))
    if key not in _servers:
        _servers[key] = Warm(env, root)
    return _servers[key]


def run(
    script: str, *flags: object, ok: bool = True, timeout: float = 300
) -> subprocess.CompletedProcess[str]:
    """Run a script of the repository's root with flags."""
    _, done = run_warm([ROOT / script, *flags], environment(), timeout)
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
