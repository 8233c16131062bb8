"""Signals, and processes that fail: everything ends, soon, with the right code and word, and can go on."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
import torch
from safetensors.torch import load_file

from tests import models
from tests.e2e import data_set
from tests.e2e.faulty import MESSAGE
from tests.e2e.programs import ROOT, environment, run, run_warm, train_flags

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
    words = ["-m", "tests.e2e.faulty", program, *map(str, words)]
    session, done = run_warm(words, {**environment(), "FAULT": fault}, PATIENCE_SECONDS)
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


@pytest.fixture(scope="module", params=[1, 2])
def whole(
    request: pytest.FixtureRequest,
    made: dict[str, str],
    data: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[int, Path]:
    """(processes, folder) of a training that nothing has stopped."""
    runs = Path(tmp_path_factory.mktemp("whole"))
    run("train_LLM.py", *flags(made, data, runs, request.param))
    return request.param, runs / "x"


@pytest.mark.parametrize(
    ("hook", "number", "name", "code"),
    [
        ("training_step", 2, "SIGTERM", 143),
        ("validation_step", 1, "SIGINT", 130),
        ("training_step", 3, "SIGUSR1", 138),
    ],
)
def test_a_signal_stops_and_resuming_equals_uninterrupted(
    hook: str,
    number: int,
    name: str,
    code: int,
    whole: tuple[int, Path],
    made: dict[str, str],
    data: Path,
    tmp_path: Path,
) -> None:
    processes, expected = whole
    # The last process alone is told.
    ended = faulty(
        f"{processes - 1} {hook} {number} {name}", "train_LLM", flags(made, data, tmp_path, processes)
    )
    assert ended.code == code, ended.errors
    assert "--ckpt-path last" in ended.last_word
    assert not (tmp_path / "x" / "average").exists()
    run("train_LLM.py", *flags(made, data, tmp_path, processes, ckpt_path="last"))
    assert_same(expected, tmp_path / "x")
    assert list((tmp_path / "x" / "checkpoints").glob("stopped-*")) == []


def begun(words: list[object], log: Path) -> subprocess.Popen[bytes]:
    """A training that has come to its second epoch."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    with log.open("w") as file:
        process = subprocess.Popen(
            [sys.executable, str(ROOT / "train_LLM.py"), *map(str, words)],
            stdout=file,
            stderr=file,
            cwd=ROOT,
            env=environment,
            start_new_session=True,
        )
    end = time.monotonic() + PATIENCE_SECONDS
    while "Validated" not in log.read_text():
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < end, log.read_text()
        time.sleep(0.1)
    return process


@pytest.mark.parametrize(
    ("processes", "signum"), [(1, signal.SIGINT), (2, signal.SIGTERM), (2, signal.SIGINT)]
)
def test_a_signal_to_everyone_workers_too(
    processes: int, signum: int, made: dict[str, str], data: Path, tmp_path: Path
) -> None:
    """As a terminal's Ctrl-C, or SLURM, sends it."""
    log = tmp_path / "log"
    process = begun(flags(made, data, tmp_path, processes, max_epochs=DAYS, num_workers=2), log)
    try:
        os.killpg(process.pid, signum)
        assert process.wait(60) == 128 + signum, log.read_text()
    finally:
        left = alive_in(process.pid)
    assert left == []
    assert "Traceback" not in log.read_text()
    assert list((tmp_path / "x" / "checkpoints").glob("*step=*"))


def test_the_second_interruption_leaves_at_once(made: dict[str, str], data: Path, tmp_path: Path) -> None:
    """Of a training whose step does not come to its end."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "FAULT": "0 training_step 2 hang"}
    words = map(str, flags(made, data, tmp_path, max_epochs=DAYS))
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.e2e.faulty", "train_LLM", *words],
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env=environment,
    )
    try:
        while not (tmp_path / "x" / "metrics.csv").exists():
            assert process.poll() is None
            time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(3)
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 130
        assert "Traceback" not in process.stderr.read()
    finally:
        process.kill()


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
    processes: int, rank: int, action: str, code: int, whole: tuple[int, Path], data: Path, tmp_path: Path
) -> None:
    trained_by, model = whole
    if trained_by == 2:
        pytest.skip("the model of one process will do")
    words = [
        "--pretrained-model-path",
        model,
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
