"""Stops a training after a signal, without loss: all processes at one optimiser step, with a checkpoint.

Under SLURM, SIGUSR1 (sbatch --signal=SIGUSR1@90) also puts the job into the queue again.
"""

from __future__ import annotations

import logging
import os
import shutil
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from lightning_fabric.plugins.environments import SLURMEnvironment

from llama_avsr import stopping
from llama_avsr.checkpoints.run_folder import STOPPED, checkpoint_name
from llama_avsr.lightning.module import SpeechLLMModule
from llama_avsr.stopping import Stopped

LOGGER = logging.getLogger(__name__)
REQUEUED = "hpc_ckpt_{number}.ckpt"
"""In the run's folder: the same command resumes from there without a flag."""
RESUMING = "the same command with --ckpt-path last"
SCONTROL_SECONDS = 30


class GracefulStop(pl.Callback):
    """folder: of the run's checkpoints.

    The ranks agree with the sums that they exchange for each step (`SpeechLLMModule.stop_signal`), and after
    each validation, which a signal cuts short: resuming does it again from its beginning.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: SpeechLLMModule, *_: Any) -> None:
        stopping.alive()
        loop = trainer.fit_loop.epoch_loop
        if pl_module.stop_signal is None or loop._should_accumulate():
            return
        # What follows an epoch's last batch comes first, and a validation is at least begun.
        validates = loop._should_check_val_fx(trainer.fit_loop._data_fetcher)
        if not (loop._is_training_done or validates):
            try:
                self._stop(trainer, pl_module, may_go_on=True)
            except Stopped:
                trainer._logger_connector.update_train_step_metrics()  # or this step's point is lost
                raise

    def on_validation_start(self, trainer: pl.Trainer, pl_module: SpeechLLMModule) -> None:
        if trainer.state.fn == "fit" and pl_module.stop_signal is not None:
            self._stop_in_validation(trainer, pl_module)

    def on_validation_batch_start(self, trainer: pl.Trainer, *_: Any) -> None:
        stopping.alive()
        if trainer.state.fn == "fit" and stopping.requested() is not None:
            raise StopIteration  # Lightning's word for the end of the clips

    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: SpeechLLMModule) -> None:
        if trainer.state.fn == "fit":
            pl_module.stop_signal = pl_module.agreed_stop()
            if pl_module.stop_signal is not None:
                self._stop_in_validation(trainer, pl_module)

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: SpeechLLMModule) -> None:
        if pl_module.stop_signal is not None:  # the epoch before has its checkpoint
            raise Stopped(pl_module.stop_signal, f"{RESUMING} resumes with the next epoch")

    def on_train_end(self, trainer: pl.Trainer, pl_module: SpeechLLMModule) -> None:
        signum = pl_module.stop_signal or pl_module.agreed_stop()
        if signum is not None:
            raise Stopped(signum, f"{RESUMING} averages and evaluates")

    def drop_checkpoints(self, trainer: pl.Trainer, kept: Path | None = None) -> None:
        """Remove those of earlier stops."""
        if trainer.is_global_zero:
            for folder in self.folder.glob(f"{STOPPED}epoch=*"):
                if folder != kept:
                    shutil.rmtree(folder)
        trainer.strategy.barrier()

    def _stop_in_validation(self, trainer: pl.Trainer, module: SpeechLLMModule) -> None:
        # Lightning takes up a validation that was in its first batch, and skips one that had not begun.
        progress = trainer.fit_loop.epoch_loop.val_loop.batch_progress
        progress.reset()
        progress.increment_ready()
        progress.increment_started()
        self._stop(trainer, module, may_go_on=False)

    def _stop(self, trainer: pl.Trainer, module: SpeechLLMModule, may_go_on: bool) -> None:
        """Save, and raise Stopped. may_go_on: where SLURM does not take the job back, training does."""
        signum = module.stop_signal
        path = self.folder / checkpoint_name(trainer.current_epoch, trainer.global_step, STOPPED)
        environment = trainer._accelerator_connector.cluster_environment
        requeue = signum == signal.SIGUSR1 and isinstance(environment, SLURMEnvironment)
        with stopping.saving():
            if not requeue:
                trainer.save_checkpoint(path)
                self.drop_checkpoints(trainer, kept=path)
                raise Stopped(signum, f"saved {path}; {RESUMING} resumes from there")
            if _save_and_requeue(trainer, path):
                raise Stopped(signum, "saved, and requeued with SLURM: it will resume by itself")
        if not may_go_on:
            raise Stopped(
                signum, f"saved {path}, but SLURM did not requeue the job; {RESUMING} resumes from there"
            )
        module.stop_signal = None
        stopping.withdraw()


def _save_and_requeue(trainer: pl.Trainer, path: Path) -> bool:
    """Whether SLURM starts the job again, from what was saved for it; else that becomes a checkpoint like
    others, `path`."""
    root = Path(trainer.default_root_dir)
    numbers = [int(found.stem.rpartition("_")[2]) for found in root.glob(REQUEUED.format(number="*"))]
    # Counted by the first process alone: the others may see its new folder already.
    number = trainer.strategy.broadcast(max(numbers, default=0) + 1)
    left = root / REQUEUED.format(number=number)
    trainer.save_checkpoint(left)
    is_queued = trainer.strategy.broadcast(_requeue() if trainer.is_global_zero else False)
    if not is_queued:
        if trainer.is_global_zero and not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            os.replace(left, path)
        trainer.strategy.barrier()
    return is_queued


def _requeue() -> bool:
    """Have SLURM start this job again."""
    job = os.environ.get("SLURM_JOB_ID", "")
    if "SLURM_ARRAY_JOB_ID" in os.environ:
        job = f"{os.environ['SLURM_ARRAY_JOB_ID']}_{os.environ['SLURM_ARRAY_TASK_ID']}"
    try:
        done = subprocess.run(
            ["scontrol", "requeue", job], capture_output=True, text=True, timeout=SCONTROL_SECONDS
        )
        why = done.stderr.strip() if done.returncode else ""
    except (OSError, subprocess.SubprocessError) as error:
        why = str(error)
    if why:
        LOGGER.warning("scontrol requeue %s: %s", job, why)
    return not why
