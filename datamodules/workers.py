"""A loader's workers: what they read, and what becomes of one that stands still or loses its parent."""

from __future__ import annotations

import atexit
import contextlib
import multiprocessing
import re
import signal
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from pathlib import Path

import torch
from torch.utils.data import get_worker_info

STUCK_SECONDS = 180.0
"""For one clip, while training waits for it: far longer than a slow disk takes."""
HALTED_SECONDS = 8.0
"""The same where the worker has been stopped (SIGSTOP) or its program waits for a debugger."""
DYING_SECONDS = 1.0
"""From the end of a killed process's connections to its own."""
POLL_SECONDS = 0.5
PR_SET_PDEATHSIG = 1
WORKER_LOST = re.compile(r"DataLoader worker \(pid.*(is killed by signal|exited unexpectedly)")


class AtWork:
    """What each worker is reading, in memory that all processes share."""

    def __init__(self, num_workers: int) -> None:
        # [worker, (place of the clip + 1 or 0 for none, when it was begun in ns)]
        self.num_workers = num_workers
        self._table = torch.zeros(num_workers, 2, dtype=torch.int64).share_memory_()

    def begin(self, worker: int, index: int | None) -> None:
        self._table[worker, 0] = 0 if index is None else index + 1
        self._table[worker, 1] = time.monotonic_ns()

    def clip_of(self, worker: int) -> tuple[int, float] | None:
        """(place of the clip, seconds that it has been read); None between two batches."""
        clip, since = self._table[worker].tolist()
        return (clip - 1, (time.monotonic_ns() - since) / 1e9) if clip else None


def begin_worker(at_work: AtWork, worker_id: int) -> None:
    """In a new worker. It ends when its parent says so, or is gone: signals are for that one to hear."""
    torch.set_num_threads(1)
    for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):
        signal.signal(signum, signal.SIG_IGN)
    if sys.platform.startswith("linux"):
        import ctypes

        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
    get_worker_info().dataset.begins = lambda index: at_work.begin(worker_id, index)


@contextlib.contextmanager
def keeping_child_handler() -> Iterator[None]:
    """torch's loader has a handler that raises an error wherever the program is when a worker dies, in the
    midst of writing a log line for one. It is undone: the loader looks after its workers while it waits, too.
    """
    before = signal.getsignal(signal.SIGCHLD)
    yield
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGCHLD, signal.SIG_DFL if before is None else before)


def is_loss_of_worker(error: Exception, workers: Sequence[BaseProcess]) -> bool:
    """Whether torch says that a worker has died, or what was to be fetched from one is gone with it."""
    if isinstance(error, RuntimeError):
        return WORKER_LOST.search(str(error)) is not None
    return bool(workers) and bool(wait([worker.sentinel for worker in workers], DYING_SECONDS))


class Watchdog:
    """Kills a worker that stands still while its batch is waited for; that it died is then heard from torch.

    reason, clips: what it did, and which clips it was at; nothing as long as all goes well.
    """

    def __init__(
        self,
        at_work: AtWork,
        workers: Sequence[BaseProcess],
        stuck_seconds: float | None = None,
        halted_seconds: float | None = None,
    ) -> None:
        self.reason = ""
        self.clips: list[int] = []
        self.workers = workers
        self._at_work = at_work
        self._stuck = STUCK_SECONDS if stuck_seconds is None else stuck_seconds
        self._halted = HALTED_SECONDS if halted_seconds is None else halted_seconds
        self._since: float | None = None
        self._ended = threading.Event()

    def __enter__(self) -> Watchdog:
        if self._at_work.num_workers:
            threading.Thread(target=self._watch, name="loader", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()

    @contextlib.contextmanager
    def waiting(self) -> Iterator[None]:
        self._since = time.monotonic()
        try:
            yield
        finally:
            self._since = None

    def clips_of_the_dead(self) -> list[int]:
        """What workers were at that live no more."""
        found = [self._at_work.clip_of(n) for n, worker in enumerate(self.workers) if not worker.is_alive()]
        return [clip[0] for clip in found if clip is not None]

    def _watch(self) -> None:
        while not self._ended.wait(POLL_SECONDS) and not self.reason:
            since = self._since
            if since is not None:
                self._look(time.monotonic() - since)

    def _look(self, waited: float) -> None:
        at = [self._at_work.clip_of(number) for number in range(len(self.workers))]
        if self.workers and waited > self._stuck and not any(at):
            # Such as a process that was forked off while a library held a lock.
            self.reason = f"none of the processes that read has begun anything for {waited:.0f} s"
            for worker in self.workers:
                worker.kill()
            return
        for number, worker in enumerate(self.workers):
            clip = at[number]
            if wait([worker.sentinel], 0):  # has died: the loader notices within seconds
                continue
            if waited > self._halted and _is_halted(worker.pid):
                what = f"the process that should read it (PID {worker.pid}) has been stopped"
            elif clip is not None and min(waited, clip[1]) > self._stuck:
                what = f"it could not be read in {clip[1]:.0f} s"
            else:
                continue
            if clip is not None:
                self.clips.append(clip[0])
            self.reason = what
            worker.kill()


def _is_halted(pid: int | None) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in ("T", "t")
    except (OSError, IndexError):
        return False


def _kill_children() -> None:
    """As the program ends: multiprocessing would ask them to, and wait for those that cannot hear."""
    daemons = [child for child in multiprocessing.active_children() if child.daemon]
    if daemons and threading.current_thread() is threading.main_thread():
        # Of another loader's torch raises an error wherever the program is.
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    for child in daemons:
        child.kill()


atexit.register(_kill_children)
