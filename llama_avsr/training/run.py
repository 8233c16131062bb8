"""Train a model, average its last checkpoints, and evaluate the average."""

from __future__ import annotations

import logging
import os
import re
import shutil
from functools import partial
from pathlib import Path

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import ModelCheckpoint
from torch import Tensor

from datamodules.datamodule import DataModule
from llama_avsr import stopping
from llama_avsr.checkpoints import folder as checkpoint
from llama_avsr.checkpoints.averaging import average_files
from llama_avsr.checkpoints.folder import AVERAGE, find_checkpoint
from llama_avsr.evaluation.run import read_test_files, run_tests, search_of
from llama_avsr.lightning.data import build_datamodule, connect
from llama_avsr.lightning.loggers import finish, make_loggers
from llama_avsr.lightning.module import Optimisation, SpeechLLMModule
from llama_avsr.lightning.progress import TrainingMonitor, progress_bar
from llama_avsr.lightning.trainer import make_trainer
from llama_avsr.model.build import build_model
from llama_avsr.model.devices import check_hardware, frozen_dtype
from llama_avsr.model.summary import summarise
from llama_avsr.options import Options, TrainingOptions, to_dict
from llama_avsr.stopping import Stopped
from llama_avsr.training.graceful_stop import RESUMING, GracefulStop
from llama_avsr.training.samples import SampleTable
from llama_avsr.training.schedules import Schedule, cosine_with_warmup, tri_stage

LOGGER = logging.getLogger(__name__)
CHECKPOINTS = "checkpoints"
NAME = "epoch={epoch:02d}-step={step:06d}"
NUM_SAMPLES = 8


def train(options: Options) -> None:
    """The work of `train_LLM.py`."""
    # First what the user may have got wrong: a large model takes minutes to load, a training days.
    check_hardware(options)
    resume_from = find_resume(options)
    check_run_folder(options, resume_from)
    datamodule = build_datamodule(options)
    datamodule.setup("fit")
    tests = read_test_files(options) if options.checkpoints.auto_test else []
    model = build_model(options, frozen_dtype(options))
    connect(datamodule, options, model)
    if options.checkpoints.pretrained_model_path is not None:
        start = find_checkpoint(options.checkpoints.pretrained_model_path)
        checkpoint.load_saved_state(model, checkpoint.read_state(start))
    module = SpeechLLMModule(
        model,
        optimisation=optimisation_of(options),
        search=search_of(options),
        seed=options.hardware.seed,
        num_samples=NUM_SAMPLES if options.run.project_wandb else 0,
        max_skipped_steps=options.training.max_skipped_steps,
    )
    loggers = loggers_of(options, resume=resume_from is not None)
    last = last_checkpoints(options)
    stop = GracefulStop(options.run_dir / CHECKPOINTS)
    callbacks = [
        *other_checkpoints(options),
        last,  # after the others, so that what they know is in the checkpoint to resume from
        TrainingMonitor(),
        SampleTable(options.modality.media),
        progress_bar(),
        stop,
    ]
    trainer = make_trainer(options, callbacks, loggers or False, options.run_dir)
    if trainer.is_global_zero:
        parts = {
            **dict(model.encoders),
            **{f"{n} projector": p for n, p in model.projectors.items()},
            "LLM": model.llm,
        }
        LOGGER.info("%s\n%s", options.run_dir, summarise(model, parts))
    fit(trainer, module, datamodule, resume_from)
    stop.drop_checkpoints(trainer)
    drop_requeue_checkpoints(trainer, options)
    average = average_last(trainer, last, options)
    if options.checkpoints.auto_test:
        checkpoint.load_saved_state(model, checkpoint.read_state(average))
        finish(loggers, run_tests(trainer, module, tests, average))
    else:
        finish(loggers)


def fit(
    trainer: pl.Trainer,
    module: SpeechLLMModule,
    datamodule: DataModule,
    resume_from: Path | None,
) -> None:
    """Raises Stopped after a signal, with a word on how to go on."""
    with stopping.asking():
        trainer.fit(module, datamodule=datamodule, ckpt_path=resume_from, weights_only=True)
    if stopping.requested() is not None:  # too late for the last epoch
        raise Stopped(stopping.requested(), f"{RESUMING} averages and evaluates")


def checkpoints_of(options: Options) -> list[Path]:
    """The run's checkpoints, oldest first."""
    return sorted((options.run_dir / CHECKPOINTS).glob("[!.]*step=*"), key=_step)


def find_resume(options: Options) -> Path | None:
    """The checkpoint to resume from; `last` is the newest of the run. Raises ValueError for a missing one.

    A job that SLURM put into the queue again goes on by itself where it was stopped.
    """
    path = options.checkpoints.ckpt_path
    requeued = requeue_checkpoints(options)
    if path is None or str(path) == "last":
        found = requeued or checkpoints_of(options)
        if path is None and not requeued:
            return None
        if not found:
            raise ValueError(
                f"--ckpt-path last: found no checkpoint in {options.run_dir / CHECKPOINTS}; give its folder"
            )
        return found[-1]
    if not (path / checkpoint.RESUME).is_file():
        raise ValueError(
            f"--ckpt-path {path}: found no {checkpoint.RESUME} there; expected a checkpoint folder of an "
            "interrupted training (to start a new training from a model: --pretrained-model-path)"
        )
    return path


def _step(folder: Path) -> tuple[int, bool]:
    """Orders checkpoint folders; of two at one step the one that is not `best-` knows more."""
    return int(re.search(r"step=(\d+)", folder.name)[1]), not folder.name.startswith("best-")


def requeue_checkpoints(options: Options) -> list[Path]:
    """What Lightning wrote when SLURM preempted this run, oldest first."""
    found = options.run_dir.glob("hpc_ckpt_*.ckpt")
    return sorted(found, key=lambda folder: int(folder.stem.rpartition("_")[2]))


def drop_requeue_checkpoints(trainer: pl.Trainer, options: Options) -> None:
    """A finished training needs them no more; Lightning would test them in place of the average."""
    if trainer.is_global_zero:
        for folder in requeue_checkpoints(options):
            shutil.rmtree(folder)
    trainer.strategy.barrier()


def check_run_folder(options: Options, resume_from: Path | None) -> None:
    """Raises ValueError rather than mix a new training with the checkpoints of an older one."""
    folder = options.run_dir / CHECKPOINTS
    if not options.run_dir.resolve().is_relative_to(options.run.exp_dir.resolve()):
        raise ValueError(f"--exp-name {options.run_name} leads out of --exp-dir; take a name inside it")
    first_process = int(os.environ.get("LOCAL_RANK", 0)) == 0
    if resume_from is None and first_process and checkpoints_of(options):
        raise ValueError(
            f"{folder} holds the checkpoints of an earlier training; resume it with --ckpt-path last, or "
            "choose another --exp-name"
        )


def optimisation_of(options: Options) -> Optimisation:
    training = options.training
    return Optimisation(
        lr=training.lr,
        weight_decay=training.weight_decay,
        betas=training.adam_betas,
        eps=training.adam_eps,
        schedule=partial(_schedule, training),
        encoder_unfreeze_step=training.encoder_unfreeze_step or 0,
    )


def _schedule(training: TrainingOptions, steps_per_epoch: int, total_steps: int) -> Schedule:
    warmup = training.warmup_steps
    if warmup is None:
        warmup = training.warmup_epochs * steps_per_epoch
    if training.lr_schedule == "cosine":
        return cosine_with_warmup(warmup, total_steps)
    decay = training.decay_steps
    return tri_stage(
        warmup,
        training.hold_steps,
        total_steps - warmup - training.hold_steps if decay is None else decay,
        training.init_lr_scale,
        training.final_lr_scale,
    )


def loggers_of(options: Options, resume: bool) -> list[pl.loggers.Logger]:
    if options.run.logger_name == "none":
        return []
    project = options.run.project_wandb if options.run.logger_name == "wandb" else None
    return make_loggers(options.run_dir, project, options.run_name, to_dict(options), resume=resume)


def last_checkpoints(options: Options) -> ModelCheckpoint:
    """Keeps the checkpoints of the last epochs: those to average, and to resume from."""
    return _Folders(
        options.run_dir / CHECKPOINTS,
        NAME,
        monitor="step",
        mode="max",
        save_top_k=options.checkpoints.num_check_save,
        every_n_epochs=1,
        save_on_train_epoch_end=True,
    )


def other_checkpoints(options: Options) -> list[ModelCheckpoint]:
    """The best by validation loss and, where asked for, one inside the epoch to resume from."""
    folder, every = options.run_dir / CHECKPOINTS, options.checkpoints.save_every_n_steps
    made = [_Folders(folder, f"best-{NAME}", monitor="val/loss", mode="min", save_top_k=1)]
    if every is not None:
        made.append(
            _Folders(
                folder, f"inside-{NAME}", monitor="step", mode="max", save_top_k=1, every_n_train_steps=every
            )
        )
    return made


class _Folders(ModelCheckpoint):
    FILE_EXTENSION = ""

    def __init__(self, folder: Path, filename: str, **kwargs: object) -> None:
        super().__init__(
            dirpath=folder,
            filename=filename,
            auto_insert_metric_name=False,
            enable_version_counter=False,  # a resumed run replaces the folders it reaches again
            **kwargs,
        )

    def check_monitor_top_k(self, trainer: pl.Trainer, current: Tensor | None = None) -> bool:
        """A loss that is not finite is no best one, and there is one with the least number in it."""
        if current is not None and not torch.isfinite(torch.as_tensor(current)):
            LOGGER.warning("%s is %s: no checkpoint is kept for it", self.monitor, float(current))
            return False
        return super().check_monitor_top_k(trainer, current)


def average_last(trainer: pl.Trainer, last: ModelCheckpoint, options: Options) -> Path:
    """Write the mean of the last checkpoints; returns its folder on every rank."""
    folder = options.run_dir / AVERAGE
    if trainer.is_global_zero:
        kept = sorted((Path(path) for path in last.best_k_models if Path(path).is_dir()), key=_step)
        chosen = kept[-options.checkpoints.num_average_epochs :]
        if len(chosen) < options.checkpoints.num_average_epochs:
            wanted = options.checkpoints.num_average_epochs
            LOGGER.info("--num-average-epochs %d, checkpoints written: %d", wanted, len(chosen))
        state = average_files([path / checkpoint.WEIGHTS for path in chosen])
        checkpoint.write(folder, state, to_dict(options))
        LOGGER.info("average of %s in %s", ", ".join(path.name for path in chosen), folder)
    trainer.strategy.barrier()
    return folder
