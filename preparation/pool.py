"""Work shared among processes, with a progress bar."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from itertools import islice
from typing import TypeVar

from tqdm import tqdm

TASKS_AHEAD = 4
"""Handed out for each worker beyond the one it is busy with."""
LOG_INTERVAL_S = 10.0
"""Between lines of the bar where standard error is no terminal."""

Task = TypeVar("Task")
Result = TypeVar("Result")


def available_cores() -> int:
    """That this process may use, which is not what the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


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
    workers = min(num_workers or available_cores(), -(-len(tasks) // tasks_per_worker))
    results = map(function, tasks) if workers <= 1 else _in_processes(function, tasks, workers)
    yield from tqdm(
        results,
        total=len(tasks),
        desc=description,
        unit=unit,
        mininterval=0.1 if sys.stderr.isatty() else LOG_INTERVAL_S,
        disable=not show_progress or not tasks,
    )


def _in_processes(
    function: Callable[[Task], Result], tasks: Iterable[Task], num_workers: int
) -> Iterator[Result]:
    waiting = iter(tasks)
    # A forked child would inherit torch's threads and locks in whatever state they are.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(num_workers, context, initializer=_begin_worker) as pool:
        running = set()
        try:
            while True:
                room = num_workers * (1 + TASKS_AHEAD) - len(running)
                running |= {pool.submit(function, task) for task in islice(waiting, room)}
                if not running:
                    return
                done, running = wait(running, return_when=FIRST_COMPLETED)
                for future in done:
                    yield future.result()
        except BrokenProcessPool:
            raise ValueError(
                "a worker process died, which is mostly for want of memory; the same command goes on where "
                "it stopped, with fewer --num-workers perhaps"
            ) from None
        finally:
            pool.shutdown(cancel_futures=True)


def _begin_worker() -> None:
    # Ctrl-C reaches every process of the group; the first one tells the others.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    import torch

    torch.set_num_threads(1)
