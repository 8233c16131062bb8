"""What a program runs on: the machine, its devices, and the energy that they take."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytorch_lightning as pl
import torch

POWERCAP = Path("/sys/class/powercap")
JOULES_PER_KWH = 3.6e6
BYTES_PER_GIB = 2**30


@dataclass(frozen=True)
class Devices:
    """GPUs of one kind, or machines that compute without one."""

    name: str
    count: int

    @classmethod
    def of(cls, trainer: pl.Trainer) -> Devices:
        device = trainer.strategy.root_device
        if device.type == "cuda":
            return cls(torch.cuda.get_device_name(device), trainer.world_size)
        return cls(f"{cpu_name()}, {os.cpu_count()} cores", trainer.num_nodes)


def cpu_name(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    """As the processor calls itself; its architecture where that is not known."""
    if cpuinfo.is_file():
        for line in cpuinfo.read_text(errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def memory_gib(device: torch.device) -> float:
    """GiB: the peak of tensors on a CUDA device, or the resident set of this process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / BYTES_PER_GIB
    return psutil.Process().memory_info().rss / BYTES_PER_GIB


@dataclass(frozen=True)
class Counter:
    """A counter of energy that hardware keeps."""

    part: str
    """"processors" or "GPUs"."""
    read: Callable[[], float]
    """Joules; raises OSError or RuntimeError where it cannot be read any more."""
    range_joules: float | None = None
    """Where it begins anew; None: nowhere."""


class EnergyMeter:
    """Energy since it was made, by part. Counters of processors begin anew after some ten minutes at full
    load: `update` must be called more often."""

    def __init__(self, counters: Sequence[Counter]) -> None:
        self._counters = list(counters)
        self._last = [counter.read() for counter in self._counters]
        self.joules: dict[str, float] = dict.fromkeys((counter.part for counter in self._counters), 0.0)
        """Of each part that can be read; it is lost where a counter fails."""

    def update(self) -> None:
        for place, counter in enumerate(self._counters):
            if counter.part not in self.joules:
                continue
            try:
                now = counter.read()
            except (OSError, ValueError, RuntimeError):
                del self.joules[counter.part]
                continue
            used = now - self._last[place]
            if used < 0:
                used = used + counter.range_joules if counter.range_joules else 0.0
            self.joules[counter.part] += used
            self._last[place] = now


def energy_counters(gpus: Sequence[int] = (), powercap: Path = POWERCAP) -> list[Counter]:
    """Those of this machine that can be read. gpus: CUDA devices in use here."""
    return [*_rapl(powercap), *_nvml(gpus)]


def _rapl(powercap: Path) -> list[Counter]:
    """Intel's and AMD's, which Linux shows to root: packages, and memory where it is counted apart."""
    found = []
    # `intel-rapl-mmio` repeats a package, `psys` and the cores in it count it again.
    for domain in sorted(powercap.glob("intel-rapl:*")):
        try:
            name = (domain / "name").read_text().strip()
            range_joules = float((domain / "max_energy_range_uj").read_text()) / 1e6
            read = _reader(domain / "energy_uj")
            read()
        except (OSError, ValueError):
            continue
        if name.startswith("package") or name == "dram":
            found.append(Counter("processors", read, range_joules))
    return found


def _reader(path: Path) -> Callable[[], float]:
    return lambda: float(path.read_text()) / 1e6


def _nvml(gpus: Sequence[int]) -> list[Counter]:
    """NVIDIA's, from Volta on."""
    if not gpus:
        return []
    try:
        import pynvml

        pynvml.nvmlInit()
        handles = [pynvml.nvmlDeviceGetHandleByUUID(_uuid(gpu)) for gpu in gpus]
        readers = [_gpu_reader(pynvml, handle) for handle in handles]
        for read in readers:
            read()
    except Exception:  # no package, no driver, no such counter: each with an error of its own
        return []
    return [Counter("GPUs", read) for read in readers]


def _uuid(gpu: int) -> str:
    # CUDA_VISIBLE_DEVICES renumbers the devices, NVML does not know of it.
    return f"GPU-{torch.cuda.get_device_properties(gpu).uuid}"


def _gpu_reader(pynvml: Any, handle: Any) -> Callable[[], float]:
    def read() -> float:
        try:
            return pynvml.nvmlDeviceGetTotalEnergyConsumption(handle) / 1e3
        except pynvml.NVMLError as error:
            raise RuntimeError(str(error)) from None

    return read
