"""Signals, and processes that fail: everything ends, soon, with the right code and word, and can go on."""

from __future__ import annotations

import csv
import functools
import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
import torch
from safetensors.torch import load_file

from tests import models
from tests.e2e import data_set
from tests.e2e.faulty import MESSAGE
from tests.e2e.programs import ROOT, Program, environment, run, run_warm, start, train_flags

pytestmark = pytest.mark.slow
PATIENCE_SECONDS = 240
"""For a whole run, on a busy machine; what hangs takes longer."""
DAYS = 100_000
"""Epochs that no test sees the end of."""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return models.folders(Path(tmp_path_factory.mktemp("models")))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return data_set.make(Path(tmp_path_factory.mktemp("data")) / "set", num_train=8, video=False)


def flags(made: dict[str, str], data: Path, runs: Path, processes: int = 1, **more: object) -> list[object]:
    choices = {"max_epochs": 2, "auto_test": False, "num_workers": 1, "lora_dropout": 0.2, **more}
    return train_flags(data, runs, made, exp_name="x", gpus=processes, **choices)


@dataclass
class Ended:
    code: int
    errors: str

    @property
    def last_word(self) -> str:
        return [line for line in self.errors.splitlines() if "--debug shows" not in line][-1]


def faulty(fault: str, program: str, words: list[object]) -> Ended:
    """Run a program of which one process fails; all its processes must be gone when it ends."""
    words = ["-m", "tests.e2e.faulty", program, *words]
    session, done = run_warm(words, environment(FAULT=fault), PATIENCE_SECONDS)
    left = alive_in(session)
    assert left == [], done.stderr
    assert "Traceback" not in done.stderr, done.stderr
    return Ended(done.returncode, done.stderr)


def alive_in(session: int) -> list[psutil.Process]:
    """Processes of a session that are not about to end; they are killed now."""
    found = [p for p in psutil.process_iter() if _session(p.pid) == session]
    found = [p for p in found if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]
    _, left = psutil.wait_procs(found, timeout=20)
    left = [p for p in left if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]
    for other in left:
        other.kill()
    return left


def _session(pid: int) -> int | None:
    try:
        return os.getsid(pid)
    except ProcessLookupError:
        return None


def weights(run_dir: Path) -> dict[str, torch.Tensor]:
    return load_file(run_dir / "average" / "model.safetensors")


def curve(run_dir: Path, name: str) -> dict[int, float]:
    with (run_dir / "metrics.csv").open() as file:
        return {int(row["step"]): float(row[name]) for row in csv.DictReader(file) if row.get(name)}


def assert_same(one: Path, other: Path) -> None:
    expected, found = weights(one), weights(other)
    assert expected.keys() == found.keys()
    assert all(torch.equal(found[name], value) for name, value in expected.items())
    for name in ("train/loss", "val/loss"):
        assert curve(other, name) == curve(one, name)


@pytest.fixture(scope="module")
def whole(
    made: dict[str, str], data: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[int], Path]:
    """The folder of a training on so many processes that nothing has stopped."""

    @functools.cache
    def trained(processes: int) -> Path:
        runs = Path(tmp_path_factory.mktemp("whole"))
        run("train_LLM.py", *flags(made, data, runs, processes))
        return runs / "x"

    return trained


@pytest.mark.parametrize(
    ("processes", "hook", "number", "name", "code"),
    [
        (1, "training_step", 2, "SIGTERM", 143),
        (1, "validation_step", 1, "SIGINT", 130),
        (2, "training_step", 3, "SIGUSR1", 138),
        (2, "validation_step", 1, "SIGINT", 130),
    ],
)
def test_a_signal_stops_and_resuming_equals_uninterrupted(
    processes: int,
    hook: str,
    number: int,
    name: str,
    code: int,
    whole: Callable[[int], Path],
    made: dict[str, str],
    data: Path,
    tmp_path: Path,
) -> None:
    # The last process alone is told.
    ended = faulty(
        f"{processes - 1} {hook} {number} {name}", "train_LLM", flags(made, data, tmp_path, processes)
    )
    assert ended.code == code, ended.errors
    assert "--ckpt-path last" in ended.last_word
    assert not (tmp_path / "x" / "average").exists()
    run("train_LLM.py", *flags(made, data, tmp_path, processes, ckpt_path="last"))
    assert_same(whole(processes), tmp_path / "x")
    assert list((tmp_path / "x" / "checkpoints").glob("stopped-*")) == []


def begun(words: list[object], fault: str | None = None, until: str = "Validated") -> Program:
    """A training that has said `until`: that it has come to its second epoch."""
    module = (ROOT / "train_LLM.py",) if fault is None else ("-m", "tests.e2e.faulty", "train_LLM")
    told = {} if fault is None else {"FAULT": fault}
    program = start([*module, *words], environment(**told))
    end = time.monotonic() + PATIENCE_SECONDS
    while until not in program.errors:
        assert not program.has_ended(), program.errors
        assert time.monotonic() < end, program.errors
        time.sleep(0.1)
    return program


@pytest.mark.parametrize(
    ("processes", "signum"), [(1, signal.SIGINT), (2, signal.SIGTERM), (2, signal.SIGINT)]
)
def test_a_signal_to_everyone_workers_too(
    processes: int, signum: int, made: dict[str, str], data: Path, tmp_path: Path
) -> None:
    """As a terminal's Ctrl-C, or SLURM, sends it."""
    program = begun(flags(made, data, tmp_path, processes, max_epochs=DAYS, num_workers=2))
    os.killpg(program.session, signum)
    done = program.wait(60)
    assert done.returncode == 128 + signum, done.stderr
    assert alive_in(program.session) == []
    assert "Traceback" not in done.stderr
    assert list((tmp_path / "x" / "checkpoints").glob("*step=*"))


def test_the_second_interruption_leaves_at_once(made: dict[str, str], data: Path, tmp_path: Path) -> None:
    """Of a training whose step does not come to its end."""
    words = flags(made, data, tmp_path, max_epochs=DAYS)
    program = begun(words, "0 training_step 2 hang", until="hangs")
    os.kill(program.session, signal.SIGINT)
    assert not program.has_ended(3)
    os.kill(program.session, signal.SIGINT)
    done = program.wait(20)
    assert done.returncode == 130
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("rank", [0, 1])
def test_the_error_of_one_process_ends_all_and_is_the_last_word(
    rank: int, made: dict[str, str], data: Path, tmp_path: Path
) -> None:
    words = flags(made, data, tmp_path, 2, max_epochs=DAYS)
    ended = faulty(f"{rank} training_step 3 raise", "train_LLM", words)
    assert ended.code == 2, ended.errors
    assert MESSAGE in ended.last_word, ended.errors


def test_a_killed_process_ends_all(made: dict[str, str], data: Path, tmp_path: Path) -> None:
    words = flags(made, data, tmp_path, 2, max_epochs=DAYS)
    ended = faulty("1 training_step 3 SIGKILL", "train_LLM", words)
    assert ended.code == 137, ended.errors
    assert "process 1 of this run was killed (SIGKILL)" in ended.last_word
    ended = faulty(
        "0 training_step 3 SIGKILL", "train_LLM", flags(made, data, tmp_path / "b", 2, max_epochs=DAYS)
    )
    assert ended.code == -signal.SIGKILL


@pytest.mark.parametrize(("name", "said"), [("SIGKILL", "died"), ("SIGSTOP", "has been stopped")])
@pytest.mark.parametrize("processes", [1, 2])
def test_a_lost_loader_ends_all(
    name: str, said: str, processes: int, made: dict[str, str], data: Path, tmp_path: Path
) -> None:
    words = flags(made, data, tmp_path, processes, max_epochs=DAYS)
    ended = faulty(f"{processes - 1} training_step 2 worker:{name}", "train_LLM", words)
    assert ended.code == 2, ended.errors
    assert said in ended.last_word or "DataLoader worker" in ended.last_word, ended.errors
    if name == "SIGSTOP":
        assert "train.csv:" in ended.last_word


def test_a_bad_loss_on_one_process_is_left_out_on_all(
    made: dict[str, str], data: Path, tmp_path: Path
) -> None:
    ended = faulty("1 training_step 2 nan", "train_LLM", flags(made, data, tmp_path, 2))
    assert ended.code == 0, ended.errors
    assert ended.errors.count("step 1 skipped: its loss is not finite") >= 1
    assert all(torch.isfinite(value).all() for value in weights(tmp_path / "x").values())


@pytest.mark.parametrize(
    ("processes", "rank", "action", "code"),
    [
        (1, 0, "SIGTERM", 143),
        (1, 0, "SIGINT", 130),
        (2, 0, "SIGTERM", 143),
        (2, 1, "SIGINT", 130),
        (2, 1, "raise", 2),
    ],
)
def test_evaluation_ends_cleanly(
    processes: int,
    rank: int,
    action: str,
    code: int,
    whole: Callable[[int], Path],
    data: Path,
    tmp_path: Path,
) -> None:
    words = [
        "--pretrained-model-path",
        whole(1),
        "--root-dir",
        data,
        "--test-file",
        "test.csv",
        "--gpus",
        processes,
    ]
    words += ["--output-dir", tmp_path, "--accelerator", "cpu", "--num-workers", 1, "--test-max-clips", 1]
    ended = faulty(f"{rank} test_step 2 {action}", "eval_LLM", words)
    assert ended.code == code, ended.errors
    if action == "raise":
        assert MESSAGE in ended.last_word
