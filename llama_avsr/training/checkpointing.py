"""Writes a run's checkpoints in one order, so that training can be killed at any instant.

At the end of an epoch its checkpoint comes first, with all that is known then; the best is a second name for
it; what is not needed any more is removed last. A run that is resumed makes good what is missing of that.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Checkpoint

from llama_avsr.checkpoints.integrity import check_finite
from llama_avsr.checkpoints.run_folder import BEST, INSIDE, RunFolder, checkpoint_name, place_of

MONITOR = "val/loss"


class RunCheckpoints(Checkpoint):
    """Every epoch's end, the least validation loss and, where asked for, one inside the epoch."""

    def __init__(
        self, run: RunFolder, keep: int, every_n_steps: int | None, resumed_from: Path | None
    ) -> None:
        """keep: last epochs that stay on the disk. every_n_steps: optimiser steps between two checkpoints
        inside an epoch."""
        self.run = run
        self.keep = keep
        self.every_n_steps = every_n_steps
        self.resumed_from = resumed_from
        self.best_loss = math.inf
        self.best: str | None = None
        """Name of the checkpoint with the least validation loss."""
        self._step_before = 0

    def state_dict(self) -> dict[str, Any]:
        return {"best_loss": self.best_loss, "best": self.best}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.best_loss, self.best = state_dict["best_loss"], state_dict["best"]

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Version 0.1 left this to one of Lightning's callbacks."""
        for key, state in checkpoint.get("callbacks", {}).items():
            if key.startswith("_Folders{'monitor': 'val/loss'") and state.get("best_model_path"):
                self.best_loss = float(state["best_model_score"])
                self.best = Path(state["best_model_path"]).name

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        # Not before: all processes must have chosen the checkpoint to resume from by now.
        if stage == "fit" and trainer.is_global_zero:
            self.run.recover()
        trainer.strategy.barrier("run folder recovered")

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        # Not when training starts: one that had finished starts no more.
        if trainer.is_global_zero and self.resumed_from is not None:
            self.run.complete(self.resumed_from, self.best)
            self.run.tidy(place_of(self.resumed_from).step, self.best, self.keep)
        trainer.strategy.barrier("checkpoints completed")

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._step_before = trainer.global_step

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        step, before = trainer.global_step, self._step_before
        self._step_before = step
        if _is_epoch_over(trainer):
            return  # its end is written in a moment
        due = self.every_n_steps is not None and step != before and step % self.every_n_steps == 0
        if due or trainer.should_stop:
            self._save(trainer, checkpoint_name(trainer.current_epoch, step, INSIDE))
            self._tidy(trainer)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.state.fn == "fit" and self._is_best(trainer) and not _is_epoch_over(trainer):
            self._save(trainer, self.best)
            self._tidy(trainer)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        name = checkpoint_name(trainer.current_epoch, trainer.global_step)
        self._save(trainer, name)
        if trainer.is_global_zero and self.best == f"{BEST}{name}":
            self.run.complete(None, self.best)
        self._tidy(trainer)

    def _is_best(self, trainer: pl.Trainer) -> bool:
        """Whether validation has just found the least loss; it is kept from then on."""
        loss = trainer.callback_metrics.get(MONITOR)
        if loss is None or trainer.sanity_checking or not -math.inf < float(loss) < self.best_loss:
            return False
        self.best_loss = float(loss)
        self.best = checkpoint_name(trainer.current_epoch, trainer.global_step, BEST)
        return True

    def _save(self, trainer: pl.Trainer, name: str) -> None:
        # All processes hold the same weights, and all stop here where the first would fail alone.
        check_finite(trainer.lightning_module.state_dict(), f"step {trainer.global_step}")
        trainer.save_checkpoint(self.run.checkpoints_folder / name)

    def _tidy(self, trainer: pl.Trainer) -> None:
        if trainer.is_global_zero:
            self.run.tidy(trainer.global_step, self.best, self.keep)
        trainer.strategy.barrier("checkpoints tidied")


def _is_epoch_over(trainer: pl.Trainer) -> bool:
    return trainer.fit_loop.epoch_loop.batch_progress.is_last_batch
