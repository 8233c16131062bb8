"""Kill a small training at every file operation in its run's folder, resume it, compare what it ends with.

    python -m tests.kills [--kinds] [--random N]

Each trial is a fork of a process that has loaded everything. SIGKILL comes before the n-th operation (opening
to write, renaming, linking, removing, making folders), or with half of a file's contents written. The resumed
run must end with the names, weights and average of the uninterrupted one.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import random
import re
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

CHANGES = ("os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.link", "os.truncate")
REMOVALS = ("os.remove", "os.rmdir")
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT
SEED = 3


class Operations:
    """Counts a process' file operations below a folder, and kills it before one."""

    def __init__(self, folder: Path, kill_at: int | None, record: Path | None) -> None:
        self.folder, self.kill_at, self.record = str(folder), kill_at, record
        self.count = 0

    def install(self) -> None:
        import torch

        from llama_avsr.checkpoints import folder as checkpoint

        sys.addaudithook(self.hook)
        # These write without Python's knowledge.
        torch.save = self._halved(torch.save, 1)
        checkpoint.save_file = self._halved(checkpoint.save_file, 1)

    def hook(self, event: str, arguments: tuple[Any, ...]) -> None:
        if bool((arguments[2] or 0) & WRITING) if event == "open" else event in CHANGES:
            path = str(arguments[0])
            # `shutil.rmtree` names what it removes relative to an open folder.
            if path.startswith(self.folder) or (event in REMOVALS and arguments[-1] not in (-1, None)):
                self.step(f"{event} {path}")

    def step(self, what: str) -> None:
        self.count += 1
        if self.count == self.kill_at:
            os.kill(os.getpid(), signal.SIGKILL)
        if self.record is not None:
            descriptor = os.open(self.record, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            os.write(descriptor, f"{what}\n".encode())
            os.close(descriptor)

    def _halved(self, write: Callable[..., Any], place: int) -> Callable[..., Any]:
        def wrapped(*arguments: Any, **more: Any) -> Any:
            done = write(*arguments, **more)
            path = Path(arguments[place])
            if str(path).startswith(self.folder):
                if self.count + 1 == self.kill_at:
                    os.truncate(path, path.stat().st_size // 2)
                self.step(f"half of {path}")
            return done

        return wrapped


def train(flags: list[str], log: Path, operations: Operations | None = None) -> int:
    """Fork a training; returns its process id."""
    pid = os.fork()
    if pid:
        return pid
    code = 99
    try:
        descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(descriptor, 1)
        os.dup2(descriptor, 2)
        from llama_avsr import cli
        from llama_avsr.commands import train as command

        if operations is not None:
            operations.install()
        try:
            cli.run(command.main, flags)
        except SystemExit as left:
            code = left.code or 0
    finally:
        sys.stdout.flush()
        os._exit(code)


def wait(pid: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def left_behind(run: Path) -> dict[str, str]:
    """Every file but the logs -> a hash of the weights, or nothing."""
    found = {}
    for path in sorted(run.rglob("*")):
        if path.is_file() and path.suffix != ".csv":
            weights = path.suffix == ".safetensors"
            name = str(path.relative_to(run))
            found[name] = hashlib.sha256(path.read_bytes()).hexdigest() if weights else ""
    return found


class Trials:
    """Trials of one training in a folder of their own."""

    def __init__(self, root: Path) -> None:
        import torch

        from tests import models
        from tests.e2e import data_set

        torch.set_num_threads(1)
        self.root = root
        self.made = models.folders(root / "models")
        self.data = data_set.make(root / "data", num_train=7, num_test=2, video=False)
        _preload()

    def flags(self, runs: Path) -> list[str]:
        from tests.e2e.programs import train_flags

        flags = train_flags(
            self.data, runs, self.made, max_epochs=3, num_average_epochs=2, num_check_save=2, lr=0.01,
            save_every_n_steps=2, val_check_interval=0.5, lora_dropout=0.2, exp_name="x",
        )  # fmt: skip
        return [*map(str, flags), "--no-auto-test"]

    def uninterrupted(self) -> tuple[dict[str, str], list[str], float]:
        """What it leaves behind, its file operations, and its seconds."""
        runs, record = self.root / "whole", self.root / "operations"
        start = time.perf_counter()
        pid = train(self.flags(runs), self.root / "whole.log", Operations(runs, None, record))
        code = wait(pid)
        assert code == 0, (self.root / "whole.log").read_text()
        operations = record.read_text().splitlines()
        return left_behind(runs / "x"), operations, time.perf_counter() - start

    def killed(self, kill_at: int | None, seconds: float = 0.0) -> tuple[dict[str, str], str]:
        """What is left behind after a kill and going on, and what the runs said."""
        runs = self.root / "killed"
        shutil.rmtree(runs, ignore_errors=True)
        logs = [self.root / "killed.log", self.root / "resumed.log"]
        pid = train(self.flags(runs), logs[0], Operations(runs, kill_at, None))
        if kill_at is None:
            time.sleep(seconds)
            os.kill(pid, signal.SIGKILL)
        wait(pid)
        kept = any((runs / "x" / "checkpoints").glob("[!.]*"))
        pid = train([*self.flags(runs), *(["--ckpt-path", "last"] if kept else [])], logs[1])
        code = wait(pid)
        said = logs[1].read_text()
        return left_behind(runs / "x"), said if code else ""


def one_of_each_kind(operations: list[str]) -> list[int]:
    """Places of operations that differ in more than numbers: of each kind the one in the middle."""
    places: dict[str, list[int]] = {}
    for place, operation in enumerate(operations):
        places.setdefault(re.sub(r"\d+", "#", operation), []).append(place)
    return sorted(found[len(found) // 2] for found in places.values())


def run(kinds: bool, num_random: int) -> list[str]:
    """Faults found, one a line; prints how far it is."""
    faults = []
    with tempfile.TemporaryDirectory() as folder:
        trials = Trials(Path(folder))
        expected, operations, seconds = trials.uninterrupted()
        draw = random.Random(SEED)
        places = one_of_each_kind(operations) if kinds else range(len(operations))
        kills: list[tuple[int | None, float]] = [(place + 1, 0.0) for place in places]
        kills += [(None, draw.uniform(0, seconds)) for _ in range(num_random)]
        for number, (kill_at, delay) in enumerate(kills):
            print(f"{number} of {len(kills)}", file=sys.stderr, flush=True)
            found, said = trials.killed(kill_at, delay)
            if said or found != expected:
                what = f"after {delay:.3f} s" if kill_at is None else f"{kill_at}: {operations[kill_at - 1]}"
                differing = sorted(
                    key for key in expected.keys() | found.keys() if expected.get(key) != found.get(key)
                )
                faults.append(f"{what}: {said[-600:] or differing}")
                print(faults[-1], flush=True)
        at_operations = len(kills) - num_random
        print(f"{len(operations)} file operations: killed at {at_operations}, and at {num_random} moments")
        print(f"{len(kills) - len(faults)} of {len(kills)} ended with the same weights and average")
    return faults


def _preload() -> None:
    """What a training imports, so that a fork has it."""
    import av  # noqa: F401
    import peft  # noqa: F401
    import torchaudio  # noqa: F401
    import transformers.models.llama.modeling_llama
    import transformers.models.whisper.modeling_whisper  # noqa: F401

    import llama_avsr.training.run  # noqa: F401


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--kinds", action="store_true", help="kill at one operation of each kind")
    parser.add_argument("--random", type=int, default=100, help="kill at so many random moments")
    arguments = parser.parse_args()
    sys.exit(1 if run(arguments.kinds, arguments.random) else 0)


if __name__ == "__main__":
    main()
