"""The processes of a run: started together, ended together.

The first process starts the others of its machine, unless SLURM or torchrun have. Where one of them ends with
an error, or is killed, all end within `GRACE_SECONDS`, also those that wait for it in a library; the error of
the one that failed is the last word.
"""

from __future__ import annotations

import atexit
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import pytorch_lightning as pl
from lightning_fabric.utilities.distributed import _set_num_threads_if_needed
from pytorch_lightning.strategies import DDPStrategy
from pytorch_lightning.strategies.launchers import _SubprocessScriptLauncher

from llama_avsr.boundary import LAUNCHED, PeerEnd, program_name, who_ended

GRACE_SECONDS = 12.0
"""From the end of a process to the forced end of the first one."""
VERDICT_SECONDS = 8.0
"""Within which the process that a connection was lost to has ended."""
POLL_SECONDS = 0.25


class Processes(DDPStrategy):
    """DDP whose processes watch each other."""

    def _configure_launcher(self) -> None:
        self._launcher = _Launcher(self.cluster_environment, self.num_processes, self.num_nodes)


class _Launcher(_SubprocessScriptLauncher):
    """Lightning's, with a watch of our own: its own kills the first process, whatever it is about to say."""

    def launch(
        self, function: Callable[..., Any], *args: Any, trainer: pl.Trainer | None = None, **kwargs: Any
    ) -> Any:
        self.cluster_environment.validate_settings(num_devices=self.num_processes, num_nodes=self.num_nodes)
        if not self.cluster_environment.creates_processes_externally:
            os.environ[LAUNCHED] = str(os.getpid())
            try:
                self._call_children_scripts()
            finally:
                del os.environ[LAUNCHED]
            Watch(self.procs).start()
        _set_num_threads_if_needed(num_processes=self.num_processes)
        return function(*args, **kwargs)


class Watch:
    """Looks after the processes that this one has started; the first to fail counts."""

    def __init__(self, processes: Sequence[subprocess.Popen[Any]]) -> None:
        self.processes = processes
        self._end: PeerEnd | None = None
        self._is_known = threading.Event()

    def start(self) -> None:
        who_ended[:] = [self.verdict]
        atexit.register(self._wait)
        threading.Thread(target=self._run, name="processes", daemon=True).start()

    def verdict(self) -> PeerEnd | None:
        """How the first of them ended; waits a little for one that is about to."""
        self._is_known.wait(VERDICT_SECONDS)
        return self._end

    def _wait(self) -> None:
        """As the program ends: they are about to, or have lost it."""
        until = time.monotonic() + GRACE_SECONDS
        for process in self.processes:
            try:
                process.wait(max(0.0, until - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()

    def _run(self) -> None:
        while self._end is None:
            codes = [process.poll() for process in self.processes]
            if all(code == 0 for code in codes):
                return
            self._end = next((end_of(rank, code) for rank, code in enumerate(codes, start=1) if code), None)
            if self._end is None:
                time.sleep(POLL_SECONDS)
        self._is_known.set()
        # Whoever waits for it by way of a socket hears of it, and ends in order.
        time.sleep(GRACE_SECONDS)
        for process in self.processes:
            process.kill()
        if self._end.said:
            print(f"{program_name()}: error: {self._end.said}", file=sys.stderr, flush=True)
        os._exit(self._end.code)


def end_of(rank: int, code: int) -> PeerEnd:
    """code: what a process ended with; below 0 the signal that killed it, which leaves it no last word."""
    if code > 0:
        return PeerEnd(code)
    name = signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
    why = ", as the system does when memory runs out" if -code == signal.SIGKILL else ""
    return PeerEnd(128 - code, f"process {rank} of this run was killed ({name}){why}")


class NoSignals:
    """In place of Lightning's signal handlers, which save in the middle of a step, and wait for other
    processes that may be waiting themselves. `llama_avsr.stopping` hears the signals."""

    received_sigterm = False

    def register_signal_handlers(self) -> None:
        """None."""

    def teardown(self) -> None:
        """Nothing to undo."""
