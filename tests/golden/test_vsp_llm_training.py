"""Three recorded updates of VSP-LLM's own training: loss, learning rate, weights, when the encoder moves.

The original left the BatchNorm of its frozen encoder in training mode; ours is in eval mode, as frozen means
here. So that the rest can be compared, this test puts it back.
"""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from torch import nn
from torch.utils.data import DataLoader

from datamodules import formats
from datamodules.batch import Batch, Padded
from datamodules.media import load_video
from datamodules.transforms import VideoTransform
from llama_avsr.checkpoints import released
from llama_avsr.lightning.module import SpeechLLMModule
from llama_avsr.model.build import build_model, text_of
from llama_avsr.model.speech_llm import SpeechLLM
from llama_avsr.options import SCHEMA
from llama_avsr.training.run import optimisation_of
from tests.golden.test_vsp_llm import FOLDER, RELEASE, options

RECORDED = json.loads((FOLDER / "train" / "report.json").read_text())["trainer_freeze2"]
WEIGHTS = np.load(FOLDER / "train" / "trainer_freeze2.npz")
NAMES = {
    "decoder.base_model.model.": "llm.",
    "avfeat_to_llm.": "projectors.video.0.",
    "encoder.w2v_model.": "encoders.video.encoder.",
}
TRAINING = {
    "lr": 0.05,
    "lr_schedule": "tri-stage",
    "warmup_steps": 10_000,
    "decay_steps": 20_000,
    "weight_decay": 0.0,
    "encoder_unfreeze_step": 2,
    "loss_reduction": "utterance",
    "unfrozen_modules": ("peft_llm",),
}
REGULARISATION = [name for name in SCHEMA.fields if name.startswith("encoder_") and "drop" in name]
NO_DROPOUT = dict.fromkeys(REGULARISATION, 0.0)


class _AsTheOriginal(SpeechLLM):
    """BatchNorm in training mode, frozen or not."""

    def train(self, mode: bool = True) -> SpeechLLM:
        super().train(mode)
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d | nn.BatchNorm3d):
                module.train(mode)
        return self


class _Clips(pl.LightningDataModule):
    """The recorded order of clips, one a batch."""

    def __init__(self, batches: list[Batch]) -> None:
        super().__init__()
        self.batches = batches

    def train_dataloader(self) -> DataLoader:
        return DataLoader(self.batches, batch_size=None, collate_fn=lambda batch: batch)

    def train_batches_per_epoch(self) -> int:
        return len(self.batches)


class _Recorder(pl.Callback):
    """Loss, learning rate and weights after every update."""

    def __init__(self) -> None:
        self.losses: list[float] = []
        self.rates: list[float] = []
        self.states: list[dict[str, torch.Tensor]] = []

    def on_before_optimizer_step(self, trainer: pl.Trainer, module: Any, optimizer: Any) -> None:
        self.rates.append(optimizer.param_groups[0]["lr"])

    def on_train_batch_end(self, trainer: pl.Trainer, module: Any, *_: Any) -> None:
        if trainer.global_step > len(self.states):
            self.losses.append(float(trainer.callback_metrics["train/loss"]))
            self.states.append({key: value.clone() for key, value in module.model.state_dict().items()})


def recorded_clips(model: SpeechLLM) -> list[Batch]:
    data = FOLDER / "data"
    encode, transform = text_of(options(), model.vocabulary), VideoTransform(train=False)
    clips = []
    for file in ("vsr/en/test.tsv", "vst/en/es/test.tsv"):
        for utterance in formats.read(data / file, data, ["video"]):
            video = transform(load_video(utterance.video_path, utterance.num_frames), torch.Generator())
            inputs = {"video": Padded.from_list([video])}
            clips.append(Batch(utterances=[utterance], inputs=inputs, text_ids=[encode(utterance)]))
    return [clips[index] for order in RECORDED["sample_order"] for index in order]


@pytest.fixture(scope="module")
def trained() -> _Recorder:
    training = options().updated(TRAINING | NO_DROPOUT)
    model = build_model(training)
    released.load_release(model, training, RELEASE)
    model.__class__ = _AsTheOriginal
    module = SpeechLLMModule(model, optimisation=optimisation_of(training))
    recorder = _Recorder()
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    trainer = pl.Trainer(
        accelerator="cpu",
        max_epochs=1,
        accumulate_grad_batches=8,
        enable_model_summary=False,
        log_every_n_steps=1,
        callbacks=[recorder],
        **quiet,
    )
    trainer.fit(module, datamodule=_Clips(recorded_clips(model)))
    return recorder


def test_losses_and_learning_rates(trained: _Recorder) -> None:
    assert len(trained.losses) == len(RECORDED["logs"]) == 3
    for loss, rate, log in zip(trained.losses, trained.rates, RECORDED["logs"], strict=True):
        assert loss / math.log(2) == pytest.approx(log["loss"], abs=6e-4)  # recorded with three decimals
        assert rate == pytest.approx(log["lr_used"], rel=1e-9)


@pytest.mark.parametrize("update", [1, 2, 3])
def test_weights_after_each_update(trained: _Recorder, update: int) -> None:
    state, checked = trained.states[update - 1], 0
    for key in WEIGHTS.files:
        when, _, name = key.partition(".")
        if when != f"u{update}":
            continue
        prefix = next(prefix for prefix in NAMES if name.startswith(prefix))
        found = state[NAMES[prefix] + name.removeprefix(prefix)]
        difference = (found - torch.from_numpy(WEIGHTS[key])).abs()
        # Adam's first step is the gradient's sign, which rounding decides where there is next to none.
        assert (difference > 1e-4).float().mean() <= 2e-4, name
        assert difference.max() < 5e-4, name
        checked += 1
    assert checked == 19


def test_the_encoder_moves_from_its_step_on(trained: _Recorder) -> None:
    key = "encoders.video.encoder.encoder.layers.1.fc2.bias"
    first, second, third = (state[key] for state in trained.states)
    assert torch.equal(first, second)
    assert not torch.equal(second, third)
