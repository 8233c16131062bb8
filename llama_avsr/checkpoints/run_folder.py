"""The folder of a run: its checkpoints, their average, and what SLURM made it leave.

    runs/first/
        checkpoints/epoch=02-step=000750/          every epoch's end, the last ones kept
        checkpoints/best-epoch=01-step=000500/     the least validation loss
        checkpoints/inside-epoch=02-step=000700/   to resume from, inside an epoch
        checkpoints/stopped-epoch=02-step=000720/  the same, written after a signal
        hpc_ckpt_1.ckpt/                           Lightning's, when SLURM preempts the job
        average/                                   the mean of the last epochs
        results/average/                           of the average
        metrics.csv

Which checkpoint comes after which is told by what they hold, not by name or date.
"""

from __future__ import annotations

import functools
import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from llama_avsr.checkpoints import durable
from llama_avsr.checkpoints import folder as checkpoint
from llama_avsr.checkpoints.averaging import average_files

LOGGER = logging.getLogger(__name__)
CHECKPOINTS, AVERAGE, RESULTS = "checkpoints", "average", "results"
BEST, INSIDE, STOPPED = "best-", "inside-", "stopped-"
AVERAGED = "averaged"
"""Key of the average's `config.yaml`: the checkpoints it is the mean of."""
NAME = re.compile(r"(best-|inside-|stopped-)?epoch=(\d+)-step=(\d+)")
UNREADABLE = 1 << 62
"""Stands for a step: a damaged checkpoint is taken for the newest, to be named, until it is known better."""


@dataclass(frozen=True, order=True)
class Place:
    """How far a checkpoint is; the later of two compares greater."""

    step: int
    """Optimiser steps."""
    epoch_finished: bool
    completeness: int
    """Of two at one place: how much that had to be done there is in it."""
    epoch: int


@dataclass(frozen=True)
class RunFolder:
    """The folder of one run."""

    path: Path

    @property
    def checkpoints_folder(self) -> Path:
        return self.path / CHECKPOINTS

    @property
    def average(self) -> Path:
        return self.path / AVERAGE

    def checkpoints(self) -> list[Path]:
        """All checkpoints in `checkpoints/`, oldest first."""
        return sorted(self.checkpoints_folder.glob("[!.]*step=*"), key=place_of)

    def requeue_checkpoints(self) -> list[Path]:
        """What Lightning wrote when SLURM preempted this run, oldest first."""
        return sorted(self.path.glob("hpc_ckpt_*.ckpt"), key=place_of)

    def epochs(self, until_step: int | None = None) -> list[Path]:
        """The newest checkpoint of each epoch, up to a step; oldest first."""
        newest: dict[int, Path] = {}
        for path in sorted(self.checkpoints_folder.glob("epoch=*-step=*"), key=place_of):
            place = place_of(path)
            if until_step is None or place.step <= until_step:
                newest[place.epoch] = path
        return [newest[epoch] for epoch in sorted(newest)]

    def newest(self) -> Path | None:
        """The checkpoint that training is to go on from; None where there is none.

        Damaged ones are named in the log, and the one before is taken. Raises ValueError where all are
        damaged.
        """
        found = sorted([*self.requeue_checkpoints(), *self.checkpoints()], key=place_of)
        faults = []
        for path in reversed(found):
            try:
                checkpoint.verify(path)
            except ValueError as error:
                faults.append(str(error))
                LOGGER.warning("skipping %s: %s", path.name, error)
            else:
                return path
        if faults:
            raise ValueError("\n".join(["no checkpoint of this run can be read:", *faults]))
        return None

    def check_unused(self) -> None:
        """Raises ValueError rather than mix a new training with the checkpoints of an older one."""
        if self.checkpoints():
            raise ValueError(
                f"{self.checkpoints_folder} holds the checkpoints of an earlier training; resume it with "
                "--ckpt-path last, or choose another --exp-name"
            )

    def recover(self) -> None:
        """Settle what a process that was killed has left half done."""
        for folder in (self.path, self.checkpoints_folder):
            durable.recover_all(folder)
        for path in self.path.glob(".*.part"):
            path.unlink()

    def complete(self, resumed_from: Path | None, best: str | None) -> None:
        """Write again what a process that was killed had not written yet: the end of the epoch that is
        resumed from, and the best checkpoint (its name), which is that epoch's."""
        if resumed_from is not None and (place := place_of(resumed_from)).epoch_finished:
            folder = self.checkpoints_folder / checkpoint_name(place.epoch, place.step)
            if not folder.exists():
                durable.copy(resumed_from, folder)
        if best is not None and not (self.checkpoints_folder / best).exists():
            folder = self.checkpoints_folder / best.removeprefix(BEST)
            if folder.exists():
                durable.copy(folder, self.checkpoints_folder / best)

    def tidy(self, step: int, best: str | None, keep: int) -> None:
        """Remove checkpoints that are not needed at a step: all epochs but the last `keep`, what was best
        before, and all but the last inside an epoch. Those of later steps stay."""
        kept = {*self.epochs(step)[-keep:]}
        if best is not None:
            kept.add(self.checkpoints_folder / best)
        inside = [path for path in self.checkpoints() if path.name.startswith(INSIDE)]
        kept.update([path for path in inside if place_of(path).step <= step][-1:])
        # What a signal left is resumed from until there is something later.
        stopped = [path for path in self.checkpoints() if path.name.startswith(STOPPED)]
        kept.update(path for path in stopped if place_of(path).step == step)
        for path in self.checkpoints():
            ours = NAME.fullmatch(path.name) is not None
            if ours and path not in kept and place_of(path).step <= step:
                durable.remove(path)

    def drop_requeue_checkpoints(self) -> None:
        """A finished training needs them no more."""
        for folder in self.requeue_checkpoints():
            durable.remove(folder)

    def write_average(self, until_step: int, count: int, options: Mapping[str, Any]) -> None:
        """Write the mean of the last `count` epochs that are on the disk. Raises ValueError for damage."""
        chosen = self.epochs(until_step)[-count:]
        if len(chosen) < count:
            LOGGER.info("--num-average-epochs %d, checkpoints found: %d", count, len(chosen))
        state = average_files(chosen, checkpoint.read_state)
        names = [path.name for path in chosen]
        checkpoint.write(self.average, state, dict(options), about={AVERAGED: names})
        LOGGER.info("average of %s in %s", ", ".join(names), self.average)


def checkpoint_name(epoch: int, step: int, kind: str = "") -> str:
    """
    >>> checkpoint_name(2, 750, BEST)
    'best-epoch=02-step=000750'
    """
    return f"{kind}epoch={epoch:02d}-step={step:06d}"


def place_of(folder: Path) -> Place:
    """How far a checkpoint is, by what it holds; by its name where that cannot be read."""
    named = NAME.search(folder.name)
    kind = (named[1] or "") if named else INSIDE
    progress = _progress(folder)
    if progress is None:
        epoch, step = (int(named[2]), int(named[3])) if named else (UNREADABLE, UNREADABLE)
        progress = {"epoch": epoch, "step": step, "epoch_finished": kind == ""}
    finished = progress["epoch_finished"]
    # Inside an epoch the best is written after validation, the others before; what is called an epoch's
    # checkpoint there was written when training was told to stop, and resumes with the next epoch.
    order = (INSIDE, STOPPED, BEST, "") if finished else ("", INSIDE, STOPPED, BEST)
    return Place(progress["step"], finished, order.index(kind), progress["epoch"])


def _progress(folder: Path) -> dict[str, Any] | None:
    try:
        status = (folder / checkpoint.CONFIG).stat()
    except OSError:
        return None
    return _read_progress(folder, status.st_ino, status.st_mtime_ns, status.st_size)


@functools.lru_cache(maxsize=256)
def _read_progress(folder: Path, *_: int) -> dict[str, Any] | None:
    try:
        config = checkpoint.read_config(folder)
        if (found := config.get(checkpoint.PROGRESS)) is not None:
            return found
        # Version 0.1 had it in Lightning's state only.
        path = folder / checkpoint.RESUME
        return checkpoint.progress(torch.load(path, map_location="cpu", weights_only=True, mmap=True))
    except Exception:  # damage of any kind, which `verify` names
        return None
