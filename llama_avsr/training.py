"""Train a model, average its last checkpoints, and evaluate the average."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import pytorch_lightning as pl
from pytorch_lightning.callbacks import ModelCheckpoint

from llama_avsr import checkpoint
from llama_avsr.averaging import average_files
from llama_avsr.build import build_model
from llama_avsr.checkpoint import AVERAGE, find_checkpoint
from llama_avsr.data import build_datamodule
from llama_avsr.evaluation import read_test_files, run_tests, search_of
from llama_avsr.lightning_module import Optimisation, SpeechLLMModule
from llama_avsr.loggers import finish, make_loggers
from llama_avsr.options import Options, to_dict
from llama_avsr.progress import TrainingMonitor, progress_bar
from llama_avsr.runtime import frozen_dtype, make_trainer
from llama_avsr.samples import SampleTable
from llama_avsr.schedules import cosine_with_warmup
from llama_avsr.summary import summarise

LOGGER = logging.getLogger(__name__)
CHECKPOINTS = "checkpoints"
NAME = "epoch={epoch:02d}-step={step:06d}"
NUM_SAMPLES = 8


def train(options: Options) -> None:
    """The work of `train_LLM.py`."""
    resume_from = find_resume(options)
    check_run_folder(options, resume_from)
    model = build_model(options, frozen_dtype(options))
    if options.checkpoints.pretrained_model_path is not None:
        start = find_checkpoint(options.checkpoints.pretrained_model_path)
        checkpoint.load_saved_state(model, checkpoint.read_state(start))
    datamodule = build_datamodule(options, model)
    if options.checkpoints.auto_test:
        read_test_files(options, model)  # told now, not after days of training
    module = SpeechLLMModule(
        model,
        optimisation=optimisation_of(options),
        search=search_of(options),
        seed=options.hardware.seed,
        num_samples=NUM_SAMPLES if options.run.project_wandb else 0,
    )
    loggers = loggers_of(options, resume=resume_from is not None)
    last = last_checkpoints(options)
    callbacks = [
        last,
        *other_checkpoints(options),
        TrainingMonitor(),
        SampleTable(options.modality.media),
        progress_bar(),
    ]
    trainer = make_trainer(options, callbacks, loggers or False)
    if trainer.is_global_zero:
        parts = {
            **dict(model.encoders),
            **{f"{n} projector": p for n, p in model.projectors.items()},
            "LLM": model.llm,
        }
        LOGGER.info("%s\n%s", options.run_dir, summarise(model, parts))
    trainer.fit(module, datamodule=datamodule, ckpt_path=resume_from, weights_only=True)
    if trainer.interrupted:
        raise KeyboardInterrupt
    average = average_last(trainer, last, options)
    if options.checkpoints.auto_test:
        checkpoint.load_saved_state(model, checkpoint.read_state(average))
        finish(loggers, run_tests(trainer, module, options, average))
    else:
        finish(loggers)


def find_resume(options: Options) -> Path | None:
    """The checkpoint to resume from; `last` is the newest of the run. Raises ValueError for a missing one."""
    path = options.checkpoints.ckpt_path
    if path is None:
        return None
    if str(path) == "last":
        found = sorted((options.run_dir / CHECKPOINTS).glob(f"*step=*/{checkpoint.RESUME}"), key=_step)
        if not found:
            raise ValueError(
                f"--ckpt-path last: found no checkpoint in {options.run_dir / CHECKPOINTS}; give its folder"
            )
        return found[-1].parent
    if not (path / checkpoint.RESUME).is_file():
        raise ValueError(
            f"--ckpt-path {path}: found no {checkpoint.RESUME} there; expected a checkpoint folder of an "
            "interrupted training (to start a new training from a model: --pretrained-model-path)"
        )
    return path


def _step(path: Path) -> int:
    return int(path.parent.name.rpartition("step=")[2])


def check_run_folder(options: Options, resume_from: Path | None) -> None:
    """Raises ValueError rather than mix a new training with the checkpoints of an older one."""
    folder = options.run_dir / CHECKPOINTS
    first_process = int(os.environ.get("LOCAL_RANK", 0)) == 0
    if resume_from is None and first_process and folder.is_dir() and any(folder.glob("*step=*")):
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
        warmup_epochs=training.warmup_epochs,
        schedule=cosine_with_warmup,
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
        super().__init__(dirpath=folder, filename=filename, auto_insert_metric_name=False, **kwargs)


def average_last(trainer: pl.Trainer, last: ModelCheckpoint, options: Options) -> Path:
    """Write the mean of the last checkpoints; returns its folder on every rank."""
    folder = options.run_dir / AVERAGE
    if trainer.is_global_zero:
        kept = sorted(
            (Path(path) for path in last.best_k_models), key=lambda path: _step(path / checkpoint.WEIGHTS)
        )
        chosen = kept[-options.checkpoints.num_average_epochs :]
        if len(chosen) < options.checkpoints.num_average_epochs:
            LOGGER.warning(
                "--num-average-epochs %d: only %d checkpoints were written; they are averaged",
                options.checkpoints.num_average_epochs,
                len(chosen),
            )
        state = average_files([path / checkpoint.WEIGHTS for path in chosen])
        checkpoint.write(folder, state, to_dict(options))
        LOGGER.info("average of %s in %s", ", ".join(path.name for path in chosen), folder)
    trainer.strategy.barrier()
    return folder
