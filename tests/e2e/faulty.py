"""A program of this project with something that goes wrong in one of its processes.

    FAULT="RANK HOOK NUMBER ACTION" python -m tests.e2e.faulty train_LLM FLAG ...

In process RANK (or `all`), at the NUMBERth call (from 1) of the module's HOOK (training_step, ...). ACTION:
the name of a signal that the process sends itself, `raise`, `hang`, `nan`, or `worker:SIGNAL` for one of its
loader's workers.
"""

from __future__ import annotations

import importlib
import os
import signal
import sys
import time
from typing import Any

import psutil

from llama_avsr import cli
from llama_avsr.lightning.module import SpeechLLMModule

MESSAGE = "a fault that the test has made"


def act(action: str) -> None:
    if action == "raise":
        raise ValueError(MESSAGE)
    if action == "hang":
        print("hangs", file=sys.stderr, flush=True)
        time.sleep(600)
    whom, _, name = action.rpartition(":")
    signum = signal.Signals[name]
    if whom == "worker":
        workers = [p for p in psutil.Process().children() if p.name() == "pt_data_worker"]
        os.kill(workers[0].pid, signum)
    else:
        os.kill(os.getpid(), signum)


def plant(rank: str, hook: str, number: int, action: str) -> None:
    original, calls = getattr(SpeechLLMModule, hook), [0]

    def faulty(self: SpeechLLMModule, batch: Any, batch_idx: int) -> Any:
        calls[0] += 1
        hit = calls[0] == number and rank in ("all", str(self.global_rank))
        if hit and action != "nan":
            act(action)
        found = original(self, batch, batch_idx)
        return found * float("nan") if hit and action == "nan" else found

    setattr(SpeechLLMModule, hook, faulty)


if __name__ == "__main__":
    program = importlib.import_module(sys.argv[1])
    if "FAULT" in os.environ:
        where, what, when, how = os.environ["FAULT"].split()
        plant(where, what, int(when), how)
    cli.run(program.main, sys.argv[2:])
