"""One run, one owner."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from llama_avsr.checkpoints import lock

ROOT = Path(__file__).parents[2]
HOLD = """
import sys
sys.path.insert(0, {root!r})
import importlib.util
spec = importlib.util.spec_from_file_location("lock", {file!r})
lock = importlib.util.module_from_spec(spec)
spec.loader.exec_module(lock)
from pathlib import Path
with lock.owned(Path({folder!r})):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def alone(monkeypatch):
    for name in (*lock.RANKS, *lock.JOB):
        monkeypatch.delenv(name, raising=False)


def holder(folder):
    """A process that owns the folder until its input ends."""
    script = HOLD.format(root=str(ROOT), file=lock.__file__, folder=str(folder))
    process = subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline().strip() == "held"
    return process


def test_a_second_owner_is_refused_and_told_who_is_the_first(tmp_path):
    process = holder(tmp_path / "run")
    try:
        owner = json.loads((tmp_path / "run" / lock.NAME).read_text())
        who = f"host {owner['host']}, process {process.pid}, since {owner['since']}"
        with pytest.raises(ValueError, match=who), lock.owned(tmp_path / "run"):
            pass
    finally:
        process.communicate("")
    with lock.owned(tmp_path / "run"):
        pass


def test_a_killed_owner_owns_nothing(tmp_path):
    process = holder(tmp_path / "run")
    process.kill()
    process.wait()
    assert (tmp_path / "run" / lock.NAME).exists()
    with lock.owned(tmp_path / "run"):
        assert json.loads((tmp_path / "run" / lock.NAME).read_text())["process"] == os.getpid()
    assert not (tmp_path / "run").exists() or not any((tmp_path / "run").iterdir())


def write(folder, host, seconds_ago, job=""):
    path = folder / lock.NAME
    path.write_text(json.dumps({"host": host, "process": 7, "since": "2026-01-01 00:00:00", "job": job}))
    os.utime(path, (time.time() - seconds_ago,) * 2)


def test_an_owner_on_another_machine_is_believed_while_it_is_heard_of(tmp_path, monkeypatch):
    write(tmp_path, "elsewhere", 1)
    with pytest.raises(ValueError, match="host elsewhere, process 7"), lock.owned(tmp_path):
        pass
    write(tmp_path, "elsewhere", 2 * lock.STALE_SECONDS)
    with lock.owned(tmp_path):
        pass
    write(tmp_path, "elsewhere", 1, job="42")
    monkeypatch.setenv("SLURM_JOB_ID", "42")
    with lock.owned(tmp_path):
        pass


@pytest.mark.parametrize("variable", lock.RANKS)
def test_other_processes_of_a_job_own_nothing(tmp_path, monkeypatch, variable):
    monkeypatch.setenv(variable, "1")
    process = holder_of_first(tmp_path / "run", monkeypatch, variable)
    try:
        before = (tmp_path / "run" / lock.NAME).read_text()
        with lock.owned(tmp_path / "run"):
            assert (tmp_path / "run" / lock.NAME).read_text() == before
        assert (tmp_path / "run" / lock.NAME).read_text() == before, "the first process' lock is still there"
    finally:
        process.communicate("")


def holder_of_first(folder, monkeypatch, variable):
    monkeypatch.setenv(variable, "0")
    process = holder(folder)
    monkeypatch.setenv(variable, "1")
    return process


def test_nothing_is_left_of_a_run_that_never_began(tmp_path):
    with pytest.raises(ValueError, match="wrong flag"), lock.owned(tmp_path / "run"):
        raise ValueError("wrong flag")
    assert not (tmp_path / "run").exists()
