"""A `LipReader` under Lightning: all but the model is a recogniser's training."""

from __future__ import annotations

from collections import defaultdict

import pytorch_lightning as pl
import torch
from torch import Tensor

from datamodules.batch import Batch
from llama_avsr.lightning.module import SpeechLLMModule


class LipReaderModule(SpeechLLMModule):
    """Checkpoints hold everything; validation counts the errors of each target."""

    def state_dict(self, *args: object, **kwargs: object) -> dict[str, Tensor]:
        return self.model.state_dict()

    def load_state_dict(
        self, state_dict: dict[str, Tensor], strict: bool = True, assign: bool = False
    ) -> None:
        self.model.load_state_dict(state_dict)

    def on_validation_epoch_start(self) -> None:
        super().on_validation_epoch_start()
        self._counts: dict[str, Tensor] = defaultdict(lambda: torch.zeros(2, device=self.device))

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        scores = self.model.scores(batch)
        self._val_sums.add(self.model.total(batch, scores), self.device)
        for name, score in scores.items():
            total = torch.tensor(float(score.total), device=self.device)
            self._counts[name] += torch.stack([score.correct.float(), total])

    def on_validation_epoch_end(self) -> None:
        super().on_validation_epoch_end()
        for name in self.model.targets:
            correct, total = self.trainer.strategy.reduce(self._counts[name], reduce_op="sum")
            self.log(f"val/{name}_error", 1 - correct / total.clamp(min=1), prog_bar=True, sync_dist=True)


def held_out_errors(trainer: pl.Trainer) -> dict[str, float]:
    """Of the last validation: target -> share of frames, or characters, that are wrong."""
    metrics = trainer.callback_metrics
    return {
        key.removeprefix("val/").removesuffix("_error"): float(value)
        for key, value in metrics.items()
        if key.startswith("val/") and key.endswith("_error")
    }
