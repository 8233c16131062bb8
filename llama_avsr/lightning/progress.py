"""How far a training is, how fast it goes, and when it ends.

The LightningModule says what each batch held in `last_batch_stats: dict[str, float]`, any of

    clips            utterances
    target_tokens    tokens with a label
    llm_tokens       all valid positions of the LLM's input
    padded_share     padding / all positions of the LLM's input, 0 to 1
    speech_seconds   of audio or video

and logs what the bar shall show (the loss first of all) with `self.log(..., prog_bar=True)`.
"""

from __future__ import annotations

import logging
import math
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.callbacks import ProgressBar, TQDMProgressBar
from pytorch_lightning.trainer.states import TrainerFn

from datamodules.batch import VIDEO_FPS
from llama_avsr.lightning.hardware import memory_gib

log = logging.getLogger(__name__)

RATES = {
    "clips": "clips_per_second",
    "target_tokens": "target_tokens_per_second",
    "llm_tokens": "tokens_per_second",
    "speech_seconds": "speech_seconds_per_second",
}
TERMINAL_REFRESH_SECONDS = 0.3
RATE_WINDOW_SECONDS = 5.0

Clock = Callable[[], float]


def progress_bar(interval_seconds: float = 30.0, terminal: bool | None = None) -> ProgressBar:
    """A bar where standard output is a terminal; elsewhere a line in the log every so many seconds.

    terminal: overrides what was found out.
    """
    terminal = sys.stdout.isatty() if terminal is None else terminal
    return TerminalProgress() if terminal else LogProgress(interval_seconds)


class BatchMeter:
    """Sums what batches held, and turns it into rates."""

    def __init__(self, clock: Clock = time.monotonic) -> None:
        self._clock = clock
        self.restart()

    def restart(self) -> None:
        self._since = self._clock()
        self._sums: dict[str, float] = {}
        self._batches = 0

    @property
    def seconds(self) -> float:
        """Since the sums began."""
        return self._clock() - self._since

    def add(self, stats: Mapping[str, float]) -> None:
        self._batches += 1
        for name, value in stats.items():
            self._sums[name] = self._sums.get(name, 0.0) + float(value)

    def take(self) -> dict[str, float]:
        """Rates per second, `padded_share` (mean over batches) and `speech_tokens_per_frame` (of 25 Hz, what
        compression leaves) since the last call; starts afresh."""
        seconds = max(self.seconds, 1e-9)
        rates = {name: self._sums[key] / seconds for key, name in RATES.items() if key in self._sums}
        if "padded_share" in self._sums:
            rates["padded_share"] = self._sums["padded_share"] / self._batches
        if self._sums.get("speech_seconds") and "speech_tokens" in self._sums:
            frames = self._sums["speech_seconds"] * VIDEO_FPS
            rates["speech_tokens_per_frame"] = self._sums["speech_tokens"] / frames
        self.restart()
        return rates


class FitClock:
    """Says when the whole fit ends, from how long its batches, with all validation between, took so far."""

    def __init__(self, clock: Clock = time.monotonic) -> None:
        self._clock = clock
        self._start_seconds = clock()
        self._start_done: int | None = None

    def start(self, done: int) -> None:
        """Begin counting; `done` batches were trained in earlier processes."""
        self._start_seconds, self._start_done = self._clock(), done

    def remaining_seconds(self, done: int, total: int | None) -> float | None:
        """None while nothing is known."""
        if total is None or self._start_done is None or done <= self._start_done:
            return None
        elapsed = self._clock() - self._start_seconds
        return elapsed / (done - self._start_done) * max(total - done, 0)


def total_batches(trainer: Trainer) -> int | None:
    """Training batches of the whole fit, on one process. None if it has no planned end."""
    per_epoch = trainer.num_training_batches
    limits = []
    if trainer.max_epochs is not None and trainer.max_epochs >= 0 and math.isfinite(per_epoch):
        limits.append(trainer.max_epochs * int(per_epoch))
    if trainer.max_steps >= 0:
        limits.append(trainer.max_steps * trainer.accumulate_grad_batches)
    return min(limits, default=None)


def format_duration(seconds: float | None) -> str:
    """`1:02:03`, `2d 1:02:03`, or `?`."""
    if seconds is None:
        return "?"
    minutes, secs = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    return f"{f'{days}d ' if days else ''}{hours}:{minutes:02}:{secs:02}"


class _FitState:
    """What both bars show of a training."""

    def __init__(self) -> None:
        self._meter = BatchMeter()
        self._rates: dict[str, float] = {}
        self._fit_clock = FitClock()

    def start(self, trainer: Trainer) -> None:
        self._fit_clock.start(trainer.fit_loop.epoch_loop.batch_progress.total.ready)
        self._meter.restart()

    def add(self, module: LightningModule) -> None:
        self._meter.add(batch_stats(module))

    def skip(self) -> None:
        """The time up to now was no training: validation."""
        self._meter.restart()

    def items(self, trainer: Trainer) -> dict[str, str]:
        """Name -> formatted value: what the module logged for the bar, learning rate, speed, time to go."""
        shown = _formatted(trainer.progress_bar_metrics)
        shown["lr"] = f"{learning_rate(trainer):.3g}"
        if not self._rates or self._meter.seconds >= RATE_WINDOW_SECONDS:
            self._rates = self._meter.take()
        if "tokens_per_second" in self._rates:
            # Other processes have batches of the same size; asking them would cost a synchronisation.
            shown["tokens/s"] = f"{self._rates['tokens_per_second'] * trainer.world_size:.0f}"
        done = trainer.fit_loop.epoch_loop.batch_progress.total.ready
        shown["ETA"] = format_duration(self._fit_clock.remaining_seconds(done, total_batches(trainer)))
        return shown


class TerminalProgress(TQDMProgressBar):
    """Lightning's bar, with the epochs to go and the time to the end of the whole fit."""

    BAR_FORMAT = "{l_bar}{bar}| {n_fmt}/{total_fmt}{postfix}"

    def __init__(self) -> None:
        super().__init__()
        self._state = _FitState()
        self._drawn_seconds = -math.inf

    def on_train_start(self, trainer: Trainer, *args: Any) -> None:
        super().on_train_start(trainer, *args)
        self._state.start(trainer)

    def on_train_epoch_start(self, trainer: Trainer, *args: Any) -> None:
        super().on_train_epoch_start(trainer, *args)
        self.train_progress_bar.set_description(_epoch(trainer))

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self._state.add(pl_module)
        last = batch_idx + 1 == self.total_train_batches
        if not last and time.monotonic() - self._drawn_seconds < TERMINAL_REFRESH_SECONDS:
            return
        self._drawn_seconds = time.monotonic()
        super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._state.skip()
        super().on_validation_end(trainer, pl_module)

    def get_metrics(self, trainer: Trainer, pl_module: LightningModule) -> dict[str, Any]:
        fitting = trainer.state.fn == TrainerFn.FITTING
        return self._state.items(trainer) if fitting else _formatted(trainer.progress_bar_metrics)


class LogProgress(ProgressBar):
    """A line in the log now and then, for output that goes to a file."""

    def __init__(self, interval_seconds: float = 30.0, clock: Clock = time.monotonic) -> None:
        super().__init__()
        self._interval_seconds = interval_seconds
        self._clock = clock
        self._enabled = True
        self._state = _FitState()
        self._said_seconds = -math.inf
        self._stage_start_seconds = 0.0

    def disable(self) -> None:
        self._enabled = False

    def enable(self) -> None:
        self._enabled = True

    def print(self, *args: Any, sep: str = " ", **kwargs: Any) -> None:
        self._say(sep.join(map(str, args)))

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._state.start(trainer)
        self._said_seconds = self._clock()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self._state.add(pl_module)
        if self._due():
            self._say_progress(
                _epoch(trainer), batch_idx, self.total_train_batches, self._state.items(trainer)
            )

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        batches = trainer.fit_loop.epoch_loop.batch_progress.current.ready
        self._say_progress(_epoch(trainer), batches - 1, self.total_train_batches, self._state.items(trainer))

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._begin_stage()

    def on_validation_batch_end(self, trainer: Trainer, pl_module: LightningModule, *args: Any) -> None:
        self._say_evaluated("Validation", args)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.reset_dataloader_idx_tracker()
        self._state.skip()
        if trainer.sanity_checking:
            return
        found = {
            name: value for name, value in trainer.progress_bar_metrics.items() if name.startswith("val")
        }
        took = format_duration(self._clock() - self._stage_start_seconds)
        pieces = [f"Validated in {took}", *(f"{name} {value}" for name, value in _formatted(found).items())]
        self._say(" | ".join(pieces))

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._begin_stage()

    def on_test_batch_end(self, trainer: Trainer, pl_module: LightningModule, *args: Any) -> None:
        self._say_evaluated("Testing", args)

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.reset_dataloader_idx_tracker()

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._begin_stage()

    def on_predict_batch_end(self, trainer: Trainer, pl_module: LightningModule, *args: Any) -> None:
        self._say_evaluated("Predicting", args)

    def on_predict_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.reset_dataloader_idx_tracker()

    def _begin_stage(self) -> None:
        self._stage_start_seconds = self._said_seconds = self._clock()

    def _say_evaluated(self, what: str, arguments: tuple[Any, ...]) -> None:
        """arguments: (outputs, batch, batch_idx, dataloader_idx) of Lightning's hooks."""
        batch_idx, dataloader_idx = arguments[2], arguments[3] if len(arguments) > 3 else 0
        self.has_dataloader_changed(dataloader_idx)
        if not self._due():
            return
        totals = {
            "Validation": lambda: self.total_val_batches_current_dataloader,
            "Testing": lambda: self.total_test_batches_current_dataloader,
            "Predicting": lambda: self.total_predict_batches_current_dataloader,
        }
        total = totals[what]()
        elapsed = self._clock() - self._stage_start_seconds
        remaining = elapsed / (batch_idx + 1) * (total - batch_idx - 1) if math.isfinite(total) else None
        self._say_progress(what, batch_idx, total, {"ETA": format_duration(remaining)})

    def _due(self) -> bool:
        return self._clock() - self._said_seconds >= self._interval_seconds

    def _say_progress(self, what: str, batch_idx: int, total: float, items: Mapping[str, str]) -> None:
        self._said_seconds = self._clock()
        pieces = [
            what,
            f"batch {batch_idx + 1}/{total}",
            *(f"{name} {value}" for name, value in items.items()),
        ]
        self._say(" | ".join(pieces))

    def _say(self, line: str) -> None:
        if self._enabled:
            log.info("%s", line)


class TrainingMonitor(Callback):
    """Logs speed, padding, memory and learning rate, as often as the trainer logs.

    Speeds are summed over processes, `padded_share` is their mean, memory that of the fullest one: the most
    CUDA memory ever held by tensors, or on a CPU what the process occupies now.
    """

    def __init__(self) -> None:
        self._meter = BatchMeter()
        self._learning_rate = 0.0
        self._logged_step = -1

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._meter.restart()
        self._logged_step = trainer.global_step

    def on_train_batch_start(self, trainer: Trainer, *_: Any) -> None:
        # By the end of the batch the scheduler has moved on to the next step's rate.
        self._learning_rate = learning_rate(trainer)

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        self._meter.add(batch_stats(pl_module))
        step = trainer.global_step
        if step == self._logged_step or not trainer.log_every_n_steps or step % trainer.log_every_n_steps:
            return
        self._logged_step = step
        for name, value in self._meter.take().items():
            reduce = "mean" if name == "padded_share" else "sum"
            pl_module.log(name, value, on_step=True, on_epoch=False, sync_dist=True, reduce_fx=reduce)
        memory = memory_gib(pl_module.device)
        pl_module.log("memory_gib", memory, on_step=True, on_epoch=False, sync_dist=True, reduce_fx="max")
        pl_module.log("lr", self._learning_rate, on_step=True, on_epoch=False)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        # Validation is no training time.
        self._meter.restart()


def batch_stats(module: LightningModule) -> Mapping[str, float]:
    """What the module says about its last batch; nothing, if it doesn't."""
    return getattr(module, "last_batch_stats", {})


def learning_rate(trainer: Trainer) -> float:
    """Of the first parameter group."""
    return float(trainer.optimizers[0].param_groups[0]["lr"]) if trainer.optimizers else 0.0


def _formatted(metrics: Mapping[str, Any]) -> dict[str, str]:
    return {name: f"{float(value):.4g}" for name, value in metrics.items()}


def _epoch(trainer: Trainer) -> str:
    planned = f"/{trainer.max_epochs}" if trainer.max_epochs is not None and trainer.max_epochs > 0 else ""
    return f"Epoch {trainer.current_epoch + 1}{planned}"
