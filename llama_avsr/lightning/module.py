"""Training, validation and evaluation of a `SpeechLLM` under Lightning."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.optim import AdamW
from torch.optim.lr_scheduler import LambdaLR

from datamodules.batch import VIDEO_FPS, Batch, Utterance
from llama_avsr import stopping
from llama_avsr.checkpoints.folder import load_saved_state, saved_state
from llama_avsr.lightning.hardware import memory_gib
from llama_avsr.lightning.nonfinite import StepGuard
from llama_avsr.model.decoding import BeamSearch, Hypothesis
from llama_avsr.model.loss import Loss
from llama_avsr.model.speech_llm import SpeechLLM
from llama_avsr.model.views import Mix, Share

LOGGER = logging.getLogger(__name__)
SUM_SCALE = 2.0**-10
"""On the sum over a batch's tokens, undone before the step: keeps 16-bit gradients in range."""
SKIPPED = "skipped_steps"
"""What a checkpoint calls the count of steps that were left out."""


@dataclass(frozen=True, kw_only=True)
class Optimisation:
    """AdamW and its schedule."""

    lr: float
    weight_decay: float
    betas: tuple[float, float]
    eps: float
    schedule: Callable[[int, int], Callable[[int], float]]
    """(steps of an epoch, all steps) -> factor of the learning rate at a step."""
    encoder_unfreeze_step: int = 0
    """Optimiser step from which encoders that are trained are trained."""
    ctc_epochs: int = 0
    """First epochs, in which the LLM does not run."""


@dataclass(frozen=True)
class Decoded:
    """One clip's result."""

    utterance: Utterance
    hypotheses: list[tuple[str, float]]
    """Text and score, best first."""
    num_speech_tokens: int
    """Positions of the LLM's input that held its speech."""


@dataclass
class _Sums:
    """What has been summed since the last optimiser step, on the device."""

    values: dict[str, Tensor] = field(default_factory=dict)

    def add(self, loss: Loss, device: torch.device, parts: Sequence[tuple[str, Loss]] = ()) -> None:
        """parts: what it consists of, by name; a name may come again."""
        new = {
            "tokens": torch.tensor(float(loss.num_tokens), device=device),
            "weight": torch.tensor(float(loss.weight), device=device),
            "cross_entropy": loss.cross_entropy.detach().float(),
            "correct": loss.correct.float(),
            **{name: value.detach().float() for name, value in loss.added.items()},
        }
        for name, part in parts:
            weight = torch.tensor(float(part.weight), device=device)
            for what, value in (("sum", part.cross_entropy.detach().float()), ("weight", weight)):
                new[f"{name}/{what}"] = new.get(f"{name}/{what}", 0) + value
        self.values = {key: self.values.get(key, 0) + value for key, value in new.items()}

    def take(self, trainer: pl.Trainer, **more: Tensor) -> dict[str, Tensor]:
        """Sums over all ranks, of `more` too; starts anew."""
        summed = self.values | {key: value.float() for key, value in more.items()}
        names, values = list(summed), torch.stack(list(summed.values()))
        self.values = {}
        total = trainer.strategy.reduce(values, reduce_op="sum")
        return dict(zip(names, total.unbind(), strict=True))


class SpeechLLMModule(pl.LightningModule):
    """The loss is the mean over the target tokens (or the clips: `SpeechLLM.loss_reduction`) of the global
    batch: all ranks, all accumulation steps."""

    def __init__(
        self,
        model: SpeechLLM,
        *,
        optimisation: Optimisation | None = None,
        search: BeamSearch | None = None,
        seed: int = 42,
        num_samples: int = 0,
        max_skipped_steps: int = 10,
        mix: Mix | None = None,
    ) -> None:
        """mix: what a step of a model with several views is made of.
        num_samples: validation clips that are decoded each time, to be looked at.
        max_skipped_steps: of so many steps in a row whose loss or gradient is not finite, training ends.
        """
        super().__init__()
        self.model = model
        self.optimisation = optimisation
        self.search = search or BeamSearch()
        self.seed = seed
        self.mix = mix
        self.num_samples = num_samples
        self.last_batch_stats: dict[str, float] = {}
        self.samples: list[Decoded] = []
        self.decoded: list[Decoded] = []
        self.test_start = 0.0
        self.test_memory_gib = 0.0
        self._clips: list[str] = []
        self.stop_signal: int | None = None
        self._sums = _Sums()
        self._guard = StepGuard(max_skipped_steps)

    # --- checkpoints hold what is trained -----------------------------------------------------------------

    def state_dict(self, *args: Any, **kwargs: Any) -> dict[str, Tensor]:
        return saved_state(self.model)

    def load_state_dict(
        self, state_dict: dict[str, Tensor], strict: bool = True, assign: bool = False
    ) -> None:
        load_saved_state(self.model, state_dict)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint[SKIPPED] = self._guard.state_dict()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        if SKIPPED in checkpoint:
            self._guard.load_state_dict(checkpoint[SKIPPED])

    # --- training -----------------------------------------------------------------------------------------

    def on_fit_start(self) -> None:
        # Pretrained models arrive in eval mode, and Lightning leaves them there.
        self.model.train()

    def cpu(self) -> SpeechLLMModule:
        """Stay where it is: Lightning would fetch the whole model to the CPU after each fit and test."""
        return self

    def configure_optimizers(self) -> dict[str, Any]:
        plan = self.optimisation
        trained = [parameter for parameter in self.parameters() if parameter.requires_grad]
        optimiser = AdamW(trained, lr=plan.lr, betas=plan.betas, eps=plan.eps, weight_decay=plan.weight_decay)
        per_epoch = math.ceil(
            self.trainer.datamodule.train_batches_per_epoch() / self.trainer.accumulate_grad_batches
        )
        total = per_epoch * self.trainer.max_epochs
        if self.trainer.max_steps > 0:
            total = min(total, self.trainer.max_steps)
        schedule = plan.schedule(per_epoch, total)
        return {
            "optimizer": optimiser,
            "lr_scheduler": {"scheduler": LambdaLR(optimiser, schedule), "interval": "step"},
        }

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        # Lightning saves no random state: dropout is a function of the number of batches trained on, so that
        # a resumed run draws what the uninterrupted one draws.
        batches = self.trainer.fit_loop.epoch_loop.batch_progress.total.processed
        seeds = np.random.SeedSequence((self.seed, batches, self.global_rank))
        torch.manual_seed(int(seeds.generate_state(1)[0]))
        np.random.seed(int(seeds.generate_state(2)[1]))  # WavLM draws its masks there
        wait = self.global_step < self.optimisation.encoder_unfreeze_step
        if wait != self.model.encoders_wait:
            self.model.hold_encoders(wait)
        self._align_or_not()
        self._clips = [utterance.id for utterance in batch.utterances]
        self._guard.keep_statistics(self.model)

    def _align_or_not(self) -> None:
        self.model.aligning = self.current_epoch < self.optimisation.ctc_epochs

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        shares = self.mix.of_step(self.global_step) if self.mix is not None else []
        loss, parts = self._loss(batch, shares)
        self._sums.add(loss, self.device, [(share.view.task, part) for share, part in parts])
        self.last_batch_stats = {
            "clips": len(batch),
            "target_tokens": loss.num_tokens,
            "llm_tokens": loss.num_positions,
            "padded_share": 1 - loss.num_positions / loss.num_padded,
            "speech_seconds": sum(u.num_frames for u in batch.utterances) / VIDEO_FPS,
            "speech_tokens": loss.num_speech_tokens,
        }
        return sum(loss.added.values(), loss.cross_entropy) * SUM_SCALE

    def _loss(self, batch: Batch, shares: Sequence[Share]) -> tuple[Loss, list[tuple[Share, Loss]]]:
        """Of a batch, and what it consists of where that is several views."""
        if not shares:
            return self.model.loss(batch), []
        losses = self.model.losses(batch, [share.view for share in shares])
        return Loss.mixed(losses, shares), list(zip(shares, losses, strict=True))

    def on_before_backward(self, loss: Tensor) -> None:
        self._guard.add(self._clips, loss)

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Turn gradients of sums into gradients of the global mean, before they are clipped.

        Where one is not finite on any rank, all ranks drop theirs: without gradients AdamW changes nothing.
        """
        trained = [p for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
        gradients = [parameter.grad for parameter in trained]
        # In the sums that are exchanged anyhow.
        asked = torch.tensor(float(stopping.requested() is not None), device=self.device)
        sums = self._sums.take(self.trainer, bad=self._guard.votes(gradients), asked=asked)
        bad, asked = torch.stack([sums.pop("bad"), sums.pop("asked")]).tolist()
        if asked:
            self.stop_signal = self.agreed_stop()
        if bad:
            for parameter in trained:
                parameter.grad = None
            self._skip_step()
            return
        self._guard.passed()
        # DDP has averaged over the ranks and Lightning over the accumulation steps.
        averaged = self.trainer.world_size * self.trainer.accumulate_grad_batches
        torch._foreach_mul_(gradients, averaged / SUM_SCALE / sums["weight"])
        self._log_means("train", sums)

    def agreed_stop(self) -> int | None:
        """The signal that asks one of the ranks to stop, the same on all; each of them has to call it."""
        return next((signum for signum in self._gathered(stopping.requested()) if signum is not None), None)

    def _skip_step(self) -> None:
        """On all ranks at once."""
        scaler = getattr(self.trainer.precision_plugin, "scaler", None)
        suspects = self._gathered(self._guard.suspects())
        if scaler is not None and scaler.get_scale() > 1 and not any(bad for bad, _ in suspects):
            # 16-bit gradients run over now and then: the scaler halves its scale and the next step fits.
            LOGGER.debug("step %d: 16-bit gradients overflowed", self.global_step)
            self._guard.forget()
            return
        self._guard.skip(suspects, self.global_step)
        self.log("skipped_steps", float(self._guard.total))

    def on_train_epoch_start(self) -> None:
        self._sums = _Sums()
        self._guard.forget()

    # --- validation ---------------------------------------------------------------------------------------

    def on_validation_epoch_start(self) -> None:
        self._val_sums = _Sums()
        self.samples = []
        if self.trainer.state.fn == "fit":
            self._align_or_not()

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        loss, parts = self._loss(batch, self.mix.whole if self.mix is not None else [])
        self._val_sums.add(loss, self.device, [(share.view.name, part) for share, part in parts])
        shows = not (self.trainer.sanity_checking or self.model.aligning)
        if len(self.samples) < self.num_samples and shows:
            self.samples += self._decode(batch)[: self.num_samples - len(self.samples)]

    def on_validation_epoch_end(self) -> None:
        self._log_means("val", self._val_sums.take(self.trainer))

    # --- evaluation ---------------------------------------------------------------------------------------

    def on_test_start(self) -> None:
        self.test_start = time.perf_counter()  # after all processes are up
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        self.decoded += self._decode(batch)
        self.test_memory_gib = max(self.test_memory_gib, memory_gib(self.device))

    def take_decoded(self) -> list[Decoded]:
        """The clips that all ranks have decoded since the last call, in the order of their label file.

        Every rank calls it, also one that had no clip (Lightning calls no hook there).
        """
        gathered = self._gathered(self.decoded)
        self.decoded = []
        return sorted((clip for part in gathered for clip in part), key=lambda clip: clip.utterance.position)

    def take_peak_memory_gib(self) -> float:
        """Of the process that took most in the last test; every rank calls it, as `take_decoded`."""
        own, self.test_memory_gib = self.test_memory_gib, 0.0
        return max(self._gathered(own))

    def _gathered(self, own: Any) -> list[Any]:
        """What each rank has, on every rank."""
        gathered = [own] * self.trainer.world_size
        if self.trainer.world_size > 1:
            torch.distributed.all_gather_object(gathered, own)
        return gathered

    def _decode(self, batch: Batch) -> list[Decoded]:
        with torch.no_grad():
            tokens = self.model.encode(batch)
        nbests = self.model.generate(batch, self.search, tokens)
        return [
            Decoded(
                utterance,
                [self._text(hypothesis) for hypothesis in nbest],
                sum(int(stream.lengths[clip]) for stream in tokens),
            )
            for clip, (utterance, nbest) in enumerate(zip(batch.utterances, nbests, strict=True))
        ]

    def _text(self, hypothesis: Hypothesis) -> tuple[str, float]:
        return self.model.vocabulary.decode(hypothesis.ids), hypothesis.score

    def _log_means(self, stage: str, sums: dict[str, Tensor]) -> None:
        # All ranks hold the same sums already; Lightning wants to hear it said of epoch ends.
        sync = stage == "val"
        added = {name: sums[name] / sums["weight"] for name in sums if name.endswith("_loss")}
        for name, loss in added.items():
            self.log(f"{stage}/{name}", loss, prog_bar=True, sync_dist=sync)
        if self.model.aligning:
            return  # without a `loss`, by which the best checkpoint is chosen
        cross_entropy = sums["cross_entropy"] / sums["weight"]
        if added:
            self.log(f"{stage}/cross_entropy", cross_entropy, sync_dist=sync)
        self.log(f"{stage}/loss", sum(added.values(), cross_entropy), prog_bar=True, sync_dist=sync)
        self.log(f"{stage}/accuracy", sums["correct"] / sums["tokens"], sync_dist=sync)
        for part in [name.removesuffix("/sum") for name in sums if name.endswith("/sum")]:
            self.log(f"{stage}/{part}/loss", sums[f"{part}/sum"] / sums[f"{part}/weight"], sync_dist=sync)
