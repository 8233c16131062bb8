"""Measure several ways of doing the same, in turns, in one process."""

from __future__ import annotations

import os
import platform
import resource
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import torch

RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True)
class Times:
    """Of one way: seconds of every repetition."""

    wall: list[float]
    cpu: list[float]

    def row(self, units: float) -> tuple[str, str, str]:
        """Median wall and CPU seconds of one unit, and the spread of the latter."""
        cpu = [seconds / units for seconds in self.cpu]
        wall = statistics.median(self.wall) / units
        return f"{wall:.3f}", f"{statistics.median(cpu):.3f}", f"{min(cpu):.3f} to {max(cpu):.3f}"

    @property
    def median_cpu(self) -> float:
        return statistics.median(self.cpu)


def measure(ways: Mapping[str, Callable[[], object]], repetitions: int) -> dict[str, Times]:
    """Run all ways once unmeasured, then in turns, the order reversed every time."""
    for way in ways.values():
        way()
    times = {name: Times([], []) for name in ways}
    for repetition in range(repetitions):
        for name in list(ways)[:: -1 if repetition % 2 else 1]:
            cpu, wall = time.process_time(), time.perf_counter()
            ways[name]()
            times[name].cpu.append(time.process_time() - cpu)
            times[name].wall.append(time.perf_counter() - wall)
    return times


def machine() -> str:
    """What this ran on: processor, threads, versions."""
    model = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.processor(),
    )
    return (
        f"{model}, {os.cpu_count()} cores, {torch.get_num_threads()} thread(s) used; "
        f"{torch.backends.cpu.get_cpu_capability()}; torch {torch.__version__}"
    )


def table(header: list[str], rows: list[list[str]]) -> str:
    """In Markdown."""
    lines = [header, ["---", *("---:" for _ in header[1:])], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def save(what: str, hardware: str | None, text: str) -> Path | None:
    """Print a result and, where `hardware` is named, write it to
    benchmarks/results/[what]_[hardware]_[date].md."""
    print(text)
    if hardware is None:
        return None
    path = RESULTS / f"{what}_{hardware}_{date.today():%Y-%m-%d}.md"
    RESULTS.mkdir(exist_ok=True)
    path.write_text(text + "\n")
    return path


def peak_mb() -> float:
    """The most memory this process has had so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
