"""Work shared among processes, with a progress bar."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from itertools import islice
from typing import Any, TypeVar

from tqdm import tqdm

TASKS_AHEAD = 4
"""Handed out for each worker beyond the one it is busy with."""
TICK_S = 0.5
TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3
"""Of glibc's malloc.h."""
KEPT_BLOCK_BYTES, KEPT_BYTES = 64 << 20, 256 << 20
LOG_INTERVAL_S = 10.0
"""Between lines of the bar where standard error is no terminal."""

Task = TypeVar("Task")
Result = TypeVar("Result")


def processes(num_workers: int | None) -> int:
    """As many as were asked for, or one for every core that this process may use.

    Raises ValueError for fewer than one.
    """
    if num_workers is None:
        # Which is not what the machine has.
        return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if num_workers < 1:
        raise ValueError(f"found --num-workers {num_workers}, expected 1 or more")
    return num_workers


def unordered_map(
    function: Callable[[Task], Result],
    tasks: Sequence[Task],
    num_workers: int | None = None,
    *,
    show_progress: bool = True,
    description: str = "",
    unit: str = "video",
    tasks_per_worker: int = 1,
) -> Iterator[Result]:
    """Results as they come. `function` is picklable.

    num_workers: processes (default: one for every core this process may use); 1: none beside this one.
    tasks_per_worker: fewer than so many are not worth another process.

    Raises:
        ValueError: a process died. What `function` raises comes through; work not begun is given up.
    """
    workers = min(processes(num_workers), -(-len(tasks) // tasks_per_worker))
    results = map(function, tasks) if workers <= 1 else in_processes(function, tasks, workers)
    yield from tqdm(
        results,
        total=len(tasks),
        desc=description,
        unit=unit,
        mininterval=0.1 if sys.stderr.isatty() else LOG_INTERVAL_S,
        disable=not show_progress or not tasks,
    )


def in_processes(
    function: Callable[[Task], Result],
    tasks: Iterable[Task],
    num_workers: int,
    *,
    begin: Callable[..., None] | None = None,
    begin_with: tuple[Any, ...] = (),
    tick: Callable[[], None] | None = None,
) -> Iterator[Result]:
    """As `unordered_map`, without a bar.

    begin: called in each process before its first task, with `begin_with`. tick: called twice a second.
    """
    waiting = iter(tasks)
    # A forked child would inherit torch's threads and locks in whatever state they are.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(num_workers, context, _begin_worker, (begin, begin_with)) as pool:
        running = set()
        try:
            while True:
                room = num_workers * (1 + TASKS_AHEAD) - len(running)
                running |= {pool.submit(function, task) for task in islice(waiting, room)}
                if not running:
                    return
                done, running = wait(running, TICK_S if tick else None, FIRST_COMPLETED)
                if tick is not None:
                    tick()
                for future in done:
                    yield future.result()
        except BrokenProcessPool:
            raise ValueError(
                "a worker process died, most often for lack of memory; the same command continues where it "
                "stopped: try fewer --num-workers"
            ) from None
        finally:
            pool.shutdown(cancel_futures=True)


def _begin_worker(begin: Callable[..., None] | None, begin_with: tuple[Any, ...]) -> None:
    # Ctrl-C reaches every process of the group: a long video is not waited for, the first one says so.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[variable] = "1"
    _keep_freed_memory()
    import torch

    torch.set_num_threads(1)
    try:
        import cv2
    except ImportError:  # only who looks for faces needs it
        pass
    else:
        cv2.setNumThreads(1)
    if begin is not None:
        begin(*begin_with)


def _keep_freed_memory() -> None:
    """Have the C library reuse the memory of pictures instead of giving it back to the system and asking for
    it again, page by page, for each of them: a third of the time of a worker went there."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):  # not glibc
        return
    mallopt(MMAP_THRESHOLD, KEPT_BLOCK_BYTES)
    mallopt(TRIM_THRESHOLD, KEPT_BYTES)
