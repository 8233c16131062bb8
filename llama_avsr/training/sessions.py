"""What each session of a training took: `sessions.json` in the run's folder, which a resumed run adds to."""

from __future__ import annotations

import dataclasses
import json
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytorch_lightning as pl

from datamodules.files import write_whole
from llama_avsr.evaluation.origin import program
from llama_avsr.evaluation.report import versions
from llama_avsr.lightning.hardware import Devices, EnergyMeter, energy_counters

LOGGER = logging.getLogger(__name__)
FILE = "sessions.json"
WRITE_SECONDS = 30.0
"""Between two writings: so much is lost of a session that is killed. Counters of energy are read as often."""

Clock = Callable[[], float]


@dataclass(frozen=True, kw_only=True)
class Session:
    """One process group's share of a training, validation included."""

    started: str
    """Date and time, UTC."""
    seconds: float
    first_step: int
    """Optimiser steps that were done before."""
    last_step: int
    device: str
    num_devices: int
    """GPUs, or machines without one."""
    num_machines: int
    joules: Mapping[str, float] = field(default_factory=dict)
    """Of the parts of the first machine that can be read: its processors, the GPUs in use there."""
    program: Mapping[str, Any] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)

    @property
    def device_hours(self) -> float:
        return self.num_devices * self.seconds / 3600


def read(run: Path) -> list[Session]:
    """Of a run's folder, oldest first; none, and a warning, where the file is damaged."""
    path = run / FILE
    if not path.is_file():
        return []
    try:
        return [Session(**one) for one in json.loads(path.read_text(encoding="utf-8"))]
    except (ValueError, TypeError) as error:
        LOGGER.warning("%s: %s; earlier sessions are not counted", path, error)
        return []


class SessionLog(pl.Callback):
    """run: the run's folder. resumes: whether this session goes on with the training that is there."""

    def __init__(
        self,
        run: Path,
        resumes: bool,
        clock: Clock = time.monotonic,
        meter: Callable[[list[int]], EnergyMeter] = lambda gpus: EnergyMeter(energy_counters(gpus)),
    ) -> None:
        self._run = run
        self._resumes = resumes
        self._clock = clock
        self._make_meter = meter
        self._earlier: list[Session] = []
        self._session: Session | None = None

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if not trainer.is_global_zero:
            return
        self._earlier = read(self._run) if self._resumes else []
        self._start = self._written = self._clock()
        gpus = trainer.device_ids if pl_module.device.type == "cuda" else []
        self._meter = self._make_meter(list(gpus))
        devices = Devices.of(trainer)
        self._session = Session(
            started=datetime.now(timezone.utc).isoformat(timespec="seconds"),
            seconds=0.0,
            first_step=trainer.global_step,
            last_step=trainer.global_step,
            device=devices.name,
            num_devices=devices.count,
            num_machines=trainer.num_nodes,
            program=program(),
            versions=versions(),
        )
        self._write(trainer)  # so that one that is killed soon is there as well

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        self._write_if_due(trainer)

    def on_validation_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        self._write_if_due(trainer)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._end(trainer)

    def on_exception(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException
    ) -> None:
        self._end(trainer)

    def _write_if_due(self, trainer: pl.Trainer) -> None:
        if self._session is not None and self._clock() - self._written >= WRITE_SECONDS:
            self._write(trainer)

    def _end(self, trainer: pl.Trainer) -> None:
        if self._session is not None:
            self._write(trainer)
            self._session = None

    def _write(self, trainer: pl.Trainer) -> None:
        self._written = self._clock()
        self._meter.update()
        now = dataclasses.replace(
            self._session,
            seconds=self._written - self._start,
            last_step=trainer.global_step,
            joules=dict(self._meter.joules),
        )
        rows = [dataclasses.asdict(one) for one in (*self._earlier, now)]
        try:
            write_whole(self._run / FILE, json.dumps(rows, indent=2, ensure_ascii=False) + "\n")
        except OSError as error:
            LOGGER.warning("%s: %s; the training goes on", self._run / FILE, error)
