"""What a training writes, in which order, and what it makes good when it is resumed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor

from llama_avsr.checkpoints import folder as checkpoint
from llama_avsr.checkpoints.run_folder import RunFolder
from llama_avsr.lightning.checkpoint_io import FolderCheckpointIO
from llama_avsr.training.checkpointing import RunCheckpoints

BATCHES = 4
LOSSES = (3.0, 1.0, 2.0)
"""Validation loss of each epoch."""


class Module(pl.LightningModule):
    """Its weight counts the optimiser steps."""

    def __init__(self, losses: tuple[float, ...] = LOSSES) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.losses = losses

    def training_step(self, batch: Tensor, index: int) -> Tensor:
        return -self.weight

    def validation_step(self, batch: Tensor, index: int) -> None:
        self.log("val/loss", self.losses[self.current_epoch])

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=1.0)


class At(pl.Callback):
    """Does something after a step."""

    def __init__(self, step: int, action) -> None:
        self.step, self.action = step, action

    def on_train_batch_end(self, trainer, module, *_: object) -> None:
        if trainer.global_step == self.step:
            self.action(trainer, module)


def fit(run: RunFolder, *callbacks: pl.Callback, resume: Path | None = None, every=None, **more) -> float:
    """Train; returns the weight."""
    module, loader = Module(), torch.utils.data.DataLoader(torch.zeros(BATCHES))
    trainer = pl.Trainer(
        accelerator="cpu",
        max_epochs=3,
        callbacks=[*callbacks, RunCheckpoints(run, 2, every, resume)],
        plugins=[FolderCheckpointIO({})],
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        default_root_dir=run.path,
        **more,
    )
    trainer.fit(module, loader, loader, ckpt_path=resume, weights_only=True)
    return module.weight.item()


def names(run: RunFolder) -> list[str]:
    return sorted(path.name for path in run.checkpoints_folder.iterdir())


KEPT = ["best-epoch=01-step=000008", "epoch=01-step=000008", "epoch=02-step=000012"]


def test_what_is_kept(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    assert fit(run) == 3 * BATCHES
    assert names(run) == KEPT
    for path in run.checkpoints():
        checkpoint.verify(path)
    assert checkpoint.read_state(run.checkpoints()[-1])["weight"] == 12


def test_inside_an_epoch(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    fit(run, every=3)
    assert names(run) == [*KEPT, "inside-epoch=02-step=000009"]
    assert run.newest().name == "epoch=02-step=000012"


@pytest.mark.parametrize("interval", [0.5, 1.0])
@pytest.mark.parametrize("step", [1, 6, 8, 11])
def test_told_to_stop(tmp_path: Path, step: int, interval: float) -> None:
    """As by --max-time-minutes: inside an epoch a checkpoint is left from which the epoch goes on."""
    run = RunFolder(tmp_path)
    fit(run, At(step, lambda trainer, _: setattr(trainer, "should_stop", True)), val_check_interval=interval)
    newest = run.newest()
    assert checkpoint.read_config(newest)[checkpoint.PROGRESS]["step"] == step
    assert fit(run, resume=newest, val_check_interval=interval) == 3 * BATCHES
    assert [path.name for path in run.epochs()] == KEPT[1:]
    run.write_average(3 * BATCHES, 2, {})
    assert checkpoint.read_state(run.average)["weight"] == 10


class Killed(Exception):
    pass


@pytest.mark.parametrize(
    ("operation", "place"), [*(("replace", n) for n in range(1, 8)), ("rmdir", 1), ("rmdir", 2)]
)
def test_cut_short_and_resumed(tmp_path: Path, monkeypatch, operation: str, place: int) -> None:
    """The slow tests kill processes; here a rename or removal fails, and nothing is cleaned up."""

    run, real, calls = RunFolder(tmp_path), getattr(os, operation), []

    def failing(*arguments: object, **more: object) -> None:
        calls.append(arguments)
        if len(calls) == place:
            raise Killed
        real(*arguments, **more)

    monkeypatch.setattr(os, operation, failing)
    with pytest.raises(Killed):
        fit(run)
    monkeypatch.undo()
    newest = run.newest() if run.checkpoints_folder.is_dir() else None
    assert fit(run, resume=newest) == 3 * BATCHES
    assert names(run) == KEPT
    for name in KEPT:
        checkpoint.verify(run.checkpoints_folder / name)


def test_weights_that_are_no_numbers_end_the_training(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    spoil = At(6, lambda _, module: module.weight.data.fill_(float("nan")))
    with pytest.raises(ValueError, match="NaN or infinity in weight"):
        fit(run, spoil)
    assert names(run) == ["best-epoch=00-step=000004", "epoch=00-step=000004"]


def test_the_best_of_version_0_1_is_known() -> None:
    state = {"best_model_score": torch.tensor(1.5), "best_model_path": "/gone/best-epoch=00-step=000006"}
    callback = RunCheckpoints(RunFolder(Path("run")), 2, None, None)
    callback.on_load_checkpoint(None, None, {"callbacks": {"_Folders{'monitor': 'val/loss', 'mode'": state}})
    assert (callback.best_loss, callback.best) == (1.5, "best-epoch=00-step=000006")
