"""A run's own account, `report.md` in its folder: what was trained, how long, and how good it is."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytorch_lightning as pl

from datamodules.batch import VIDEO_FPS
from datamodules.datamodule import DataModule
from datamodules.files import write_whole
from datamodules.table import Utterances
from llama_avsr.checkpoints import folder as checkpoint
from llama_avsr.checkpoints.run_folder import AVERAGED, RunFolder
from llama_avsr.evaluation.plots import loss_curve
from llama_avsr.lightning.hardware import BYTES_PER_GIB, JOULES_PER_KWH
from llama_avsr.lightning.loggers import METRICS_FILE
from llama_avsr.model.summary import ModelSummary
from llama_avsr.options import Options
from llama_avsr.training import sessions
from llama_avsr.training.sessions import Session

LOGGER = logging.getLogger(__name__)
FILE = "report.md"
CURVES_FILE = "report.png"


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What an account is made of, besides curves and sessions."""

    name: str
    task: str
    """In words."""
    model: ModelSummary
    train_file: str
    num_clips: int
    num_frames: int
    """25 Hz frames of the training clips."""
    epochs: int
    steps: int
    averaged: int
    """Checkpoints in the average."""
    price_per_hour: float | None
    """Of one device."""
    results: str
    """Markdown."""


def write(
    options: Options,
    trainer: pl.Trainer,
    model: ModelSummary,
    datamodule: DataModule,
    task: str,
    results: str,
) -> None:
    """Of the run that has just ended; the first process calls it. task: in words. results: Markdown."""
    clips = Utterances.of(datamodule.utterances["train"])
    run = RunFolder(options.run_dir)
    facts = Facts(
        name=options.run_name,
        task=task,
        model=model,
        train_file=options.data.train_file,
        num_clips=len(clips),
        num_frames=int(clips.num_frames.sum()),
        epochs=trainer.current_epoch,
        steps=trainer.global_step,
        averaged=len(checkpoint.read_config(run.average).get(AVERAGED, ())),
        price_per_hour=options.run.price_per_hour,
        results=results,
    )
    write_facts(run.path, facts, sessions.read(run.path))
    LOGGER.info("account of the run in %s", run.path / FILE)


def write_facts(run: Path, facts: Facts, found: Sequence[Session]) -> None:
    """`report.md` in a run's folder and, where there is a `metrics.csv` with losses, `report.png`."""
    sections = {
        "Results": facts.results,
        "Curves": _curves(run),
        "Time and energy": _table(_time(found, facts.price_per_hour)),
        "Sessions": _sessions(found) if len(found) > 1 else "",
        "Model and data": _table(_model(facts)),
        "Program": _table(_program(found)),
    }
    body = "\n\n".join(f"## {title}\n\n{text}" for title, text in sections.items() if text)
    write_whole(run / FILE, f"# {facts.name}\n\n{facts.task}\n\n{body}\n")


def _curves(run: Path) -> str:
    try:
        loss_curve(run / METRICS_FILE, run / CURVES_FILE)
    except (OSError, ValueError):  # --logger none, or stopped before the first line
        return ""
    return f"![training and validation loss]({CURVES_FILE})"


def _time(found: Sequence[Session], price_per_hour: float | None) -> dict[str, str]:
    seconds = sum(one.seconds for one in found)
    device_hours = sum(one.device_hours for one in found)
    devices = dict.fromkeys(_devices(one) for one in found)
    memory = psutil.virtual_memory().total / BYTES_PER_GIB
    said = {
        "devices": "; ".join(devices) or "unknown",
        "memory": f"{memory:.0f} GiB on the first machine",
        "wall time": f"{seconds / 3600:.2f} h in {len(found)} session{'s' * (len(found) != 1)}, "
        "validation included",
        "device time": f"{device_hours:.2f} h",
        "energy": _energy(found),
    }
    if price_per_hour is not None:
        cost = device_hours * price_per_hour
        said["cost"] = f"{cost:.2f}, at {price_per_hour:g} for an hour of one device"
    return said


def _devices(session: Session) -> str:
    return f"{session.num_devices} x {session.device}"


def _energy(found: Sequence[Session]) -> str:
    """The sum, as far as counters could be read in all sessions."""
    parts = set.intersection(*(set(one.joules) for one in found)) if found else set()
    if not parts:
        return "unknown: no counter can be read here (Intel RAPL, which Linux shows to root; NVML)"
    used = {part: sum(one.joules[part] for one in found) / JOULES_PER_KWH for part in sorted(parts)}
    said = f"{sum(used.values()):.3g} kWh ({', '.join(f'{part} {kwh:.3g}' for part, kwh in used.items())})"
    machines = max(one.num_machines for one in found)
    return said if machines == 1 else f"{said} on the first of {machines} machines"


def _sessions(found: Sequence[Session]) -> str:
    rows = [
        f"| {one.started} | {one.first_step} to {one.last_step} | {one.seconds / 3600:.2f} "
        f"| {_devices(one)} |"
        for one in found
    ]
    return "\n".join(["| began (UTC) | steps | hours | devices |", "|---|---:|---:|---|", *rows])


def _model(facts: Facts) -> dict[str, str]:
    total = facts.model.total
    trained = ", ".join(f"{row.name} {row.trained:,}" for row in facts.model.rows if row.trained)
    hours = facts.num_frames / VIDEO_FPS / 3600
    return {
        "parameters": f"{total.parameters:,}",
        "trained": f"{total.trained:,} ({trained})",
        "training data": f"{hours:.2f} h, {facts.num_clips} clips of `{facts.train_file}`",
        "training": f"{facts.epochs} epochs, {facts.steps} optimiser steps; the mean of the last "
        f"{facts.averaged} checkpoint{'s' * (facts.averaged != 1)} is the model",
    }


def _program(found: Sequence[Session]) -> dict[str, str]:
    """Of the last session, and what differed before."""
    said: dict[str, list[str]] = {}
    for one in found:
        program = {**one.program}
        changed = " with changes" if program.pop("dirty", False) else ""
        commit = program.pop("commit", None)
        facts = {"llama-avsr": program.get("version"), "commit": f"{commit}{changed}" if commit else None}
        for name, value in {**facts, **one.versions}.items():
            if value is not None and value not in said.setdefault(name, []):
                said[name].append(value)
    return {name: ", then ".join(values) for name, values in said.items() if values}


def _table(rows: Mapping[str, str]) -> str:
    return "\n".join(["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows.items())])
