"""A loss or gradient that is not finite: the step is left out and its clips are named."""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from datamodules.batch import Batch
from llama_avsr.checkpoints.run_folder import RunFolder
from llama_avsr.lightning.module import SpeechLLMModule
from llama_avsr.lightning.nonfinite import NonFiniteError, StepGuard
from llama_avsr.options import Options
from llama_avsr.training.checkpointing import RunCheckpoints
from llama_avsr.training.run import optimisation_of
from tests import models

NAN, INF = float("nan"), float("inf")
Change = Callable[[Tensor], Tensor]


class Clips(pl.LightningDataModule):
    def __init__(self, batches: list[Batch]) -> None:
        super().__init__()
        self.batches = batches

    def train_dataloader(self) -> DataLoader:
        return DataLoader(self.batches, batch_size=None, collate_fn=lambda batch: batch)

    def train_batches_per_epoch(self) -> int:
        return len(self.batches)


class Recorder(pl.Callback):
    """Weights, Adam's state and the learning rate after every step."""

    def __init__(self) -> None:
        self.weights: list[dict[str, Tensor]] = []
        self.adam: list[Any] = []
        self.rates: list[float] = []

    def on_train_batch_end(self, trainer: pl.Trainer, module: Any, *_: Any) -> None:
        if trainer.global_step > len(self.rates):
            self.weights.append({name: p.detach().clone() for name, p in module.named_parameters()})
            self.adam.append(copy.deepcopy(trainer.optimizers[0].state_dict()["state"]))
            self.rates.append(trainer.optimizers[0].param_groups[0]["lr"])


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return models.folders(tmp_path_factory.mktemp("models"))


def fit(
    made: dict[str, str], changes: dict[int, Change], max_skipped_steps: int = 10, **more: Any
) -> tuple[SpeechLLMModule, Recorder]:
    """Train on six batches. changes: what becomes of the loss of a batch, counted from 0."""
    model = models.build(made, "audio")
    module = SpeechLLMModule(
        model,
        optimisation=optimisation_of(Options().updated({"lr": 0.01})),
        max_skipped_steps=max_skipped_steps,
    )
    step = module.training_step

    def changed(batch: Batch, batch_idx: int) -> Tensor:
        return changes.get(batch_idx, lambda loss: loss)(step(batch, batch_idx))

    module.training_step = changed
    recorder = Recorder()
    trainer = pl.Trainer(
        accelerator="cpu",
        max_epochs=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        gradient_clip_val=1.0,
        callbacks=[recorder],
        **more,
    )
    clips = models.clips(model, "transcribe speech to text .")
    trainer.fit(module, datamodule=Clips([*clips, *clips]))
    return module, recorder


class _NaNGradient(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, loss: Tensor) -> Tensor:
        return loss.clone()

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> Tensor:
        return gradient * NAN


BAD: dict[str, Change] = {
    "NaN": lambda loss: loss * NAN,
    "infinite": lambda loss: loss + INF,
    "NaN in the loss alone": lambda loss: loss + torch.tensor(NAN),
    "NaN in the gradient alone": _NaNGradient.apply,
}


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_step_changes_nothing(
    kind: str, made: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        module, recorder = fit(made, {3: BAD[kind]})
    before, after, later = recorder.weights[2:5]
    assert all(torch.equal(after[name], weight) for name, weight in before.items())
    assert any(not torch.equal(later[name], weight) for name, weight in before.items())
    assert all(torch.isfinite(weight).all() for weight in recorder.weights[-1].values())
    for state, same in zip(recorder.adam[2].values(), recorder.adam[3].values(), strict=True):
        assert all(torch.equal(state[name], same[name]) for name in ("step", "exp_avg", "exp_avg_sq"))
    assert recorder.rates[2] != recorder.rates[3], "the schedule goes on"
    (record,) = [record for record in caplog.records if "not finite" in record.message]
    assert "step 3 " in record.message
    assert "clip0" in record.message
    assert module._guard.total == 1


def test_a_bad_batch_spoils_its_whole_accumulated_step(
    made: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        _, recorder = fit(made, {2: BAD["NaN"]}, accumulate_grad_batches=2)
    assert len(recorder.rates) == 3
    assert all(torch.equal(recorder.weights[1][name], w) for name, w in recorder.weights[0].items())
    (record,) = [record for record in caplog.records if "not finite" in record.message]
    assert record.message.endswith("clips: clip2"), "the batch that was bad, not the one beside it"


def test_good_steps_are_as_without_the_guard(made: dict[str, str]) -> None:
    _, one = fit(made, {})
    _, other = fit(made, {5: BAD["NaN"]})
    assert all(torch.equal(other.weights[4][name], weight) for name, weight in one.weights[4].items())


def test_too_many_in_a_row_end_training_with_the_clips(made: dict[str, str]) -> None:
    bad = BAD["NaN"]
    with pytest.raises(NonFiniteError, match=r"3 steps .*--max-skipped-steps 3.*clip1, clip2, clip0"):
        fit(made, {1: bad, 2: bad, 3: bad}, max_skipped_steps=3)
    module, _ = fit(made, {1: bad, 2: bad, 4: bad, 5: bad}, max_skipped_steps=3)
    assert module._guard.total == 4


def test_running_statistics_of_a_bad_step_are_put_back() -> None:
    model = nn.Sequential(nn.BatchNorm1d(2), nn.Linear(2, 1))
    guard = StepGuard(max_in_a_row=2)
    before = copy.deepcopy(model.state_dict())
    for value in (1.0, NAN):
        guard.keep_statistics(model)
        guard.add(["a"], model(torch.full((4, 2), value)).sum())
    assert not torch.isfinite(model[0].running_mean).all()
    assert guard.votes([]).item() == 1
    guard.skip([guard.suspects()], step=7)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_the_count_goes_on_after_resuming() -> None:
    guard = StepGuard(max_in_a_row=2)
    guard.skip([([], ["a"])], step=1)
    resumed = StepGuard(max_in_a_row=2)
    resumed.load_state_dict(guard.state_dict())
    with pytest.raises(NonFiniteError, match="a, b"):
        resumed.skip([([], ["b"])], step=2)


@pytest.mark.parametrize("value", [NAN, INF, -INF])
def test_a_loss_that_is_not_finite_is_no_best_one(value: float, tmp_path: Path) -> None:
    checkpoints = RunCheckpoints(RunFolder(tmp_path), keep=1, every_n_steps=None, resumed_from=None)
    metrics = {"val/loss": torch.tensor(value)}
    trainer = SimpleNamespace(callback_metrics=metrics, sanity_checking=False, current_epoch=0, global_step=1)
    assert not checkpoints._is_best(trainer)
    metrics["val/loss"] = torch.tensor(0.5)
    assert checkpoints._is_best(trainer)
