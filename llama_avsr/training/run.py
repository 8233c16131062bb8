"""Train a model, average its last checkpoints, and evaluate the average."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TypeVar

import pytorch_lightning as pl
from torch import nn

from datamodules.datamodule import DataModule
from llama_avsr import stopping
from llama_avsr.checkpoints import folder as checkpoint
from llama_avsr.checkpoints import lock
from llama_avsr.checkpoints.run_folder import RunFolder
from llama_avsr.checkpoints.source import Checkpoint, find_source
from llama_avsr.evaluation.loading import search_of
from llama_avsr.evaluation.report import score_table
from llama_avsr.evaluation.run import read_test_files, record, run_tests
from llama_avsr.lightning.data import build_datamodule, connect
from llama_avsr.lightning.limits import check_tests, check_training
from llama_avsr.lightning.loggers import check_installed, make_loggers
from llama_avsr.lightning.module import Optimisation, SpeechLLMModule
from llama_avsr.lightning.progress import TrainingMonitor, progress_bar
from llama_avsr.lightning.trainer import denormals_as_zero, make_trainer
from llama_avsr.model.build import build_model
from llama_avsr.model.devices import check_hardware, frozen_dtype
from llama_avsr.model.speech_llm import SpeechLLM
from llama_avsr.model.summary import summarise
from llama_avsr.model.views import Mix
from llama_avsr.options import Options, TrainingOptions, to_dict
from llama_avsr.stopping import Stopped
from llama_avsr.training import account, sessions
from llama_avsr.training.checkpointing import RunCheckpoints
from llama_avsr.training.graceful_stop import RESUMING, GracefulStop
from llama_avsr.training.samples import SampleTable
from llama_avsr.training.schedules import Schedule, cosine_with_warmup, floored_cosine, tri_stage

LOGGER = logging.getLogger(__name__)
NUM_SAMPLES = 8
T = TypeVar("T", bound=Options)


def train(options: Options) -> None:
    """The work of `train_LLM.py`."""
    in_run_folder(options, _train)


def in_run_folder(options: T, work: Callable[[T, Path | None], None]) -> None:
    """Call `work(options, checkpoint to resume from)` with the run's folder to itself."""
    # First what the user may have got wrong: a large model takes minutes to load, a training days.
    check_hardware(options)
    check_installed(options.run.wandb_project, options.run.loggers)
    check_run_name(options)
    with lock.owned(options.run_dir):
        resume_from = find_resume(options)
        if resume_from is None and lock.is_first_process():
            RunFolder(options.run_dir).check_unused()
        work(options, resume_from)


def _train(options: Options, resume_from: Path | None) -> None:
    datamodule = build_datamodule(options)
    datamodule.setup("fit")
    tests = read_test_files(options.views) if options.checkpoints.auto_test else []
    model = build_model(options, frozen_dtype(options))
    connect(datamodule, options, model)
    check_training(options, model, datamodule)
    check_tests(model, [(test.options, test.datamodule) for test in tests])
    if options.checkpoints.pretrained_model_path is not None:
        start_of(options.checkpoints.pretrained_model_path).load(model, options)
    module = SpeechLLMModule(
        model,
        optimisation=optimisation_of(options),
        search=search_of(options),
        seed=options.hardware.seed,
        num_samples=NUM_SAMPLES if set(options.run.loggers) - {"csv"} else 0,
        max_skipped_steps=options.training.max_skipped_steps,
        mix=mix_of(options, model),
    )
    parts = {
        **dict(model.encoders),
        **{f"{n} compressor": c for n, c in model.compressors.items() if [*c.parameters()]},
        **{f"{n} projector": p for n, p in model.projectors.items()},
        "LLM": model.llm,
    }
    loggers = loggers_of(options, resume=resume_from is not None)
    samples = SampleTable(options.views[0].media, options.task.metric)
    trainer, average = fit_and_average(options, module, datamodule, loggers, parts, resume_from, [samples])
    tested = None
    if options.training.aligner_steps:
        average.load(model, options)
        _add_words(trainer, model, average, options)
    if options.checkpoints.auto_test:
        average.load(model, options)
        tested = run_tests(trainer, module, tests, average)
    if trainer.is_global_zero:
        task = f"{', '.join(options.task_names)} from {' and '.join(options.media)}"
        results = score_table(tested.evaluations) if tested else "Not evaluated (--no-auto-test)."
        account.write(options, trainer, summarise(model, parts), datamodule, task, results)
    record(loggers, tested)


def _add_words(trainer: pl.Trainer, model: SpeechLLM, average: Checkpoint, options: Options) -> None:
    from llama_avsr.training.aligning import add_words  # scikit-learn takes a second

    if trainer.world_size > 1:
        LOGGER.warning("--aligner-steps: not on several GPUs; run `llama-avsr align %s`", options.run_dir)
        return
    add_words(model, average.folder, options, options.training.aligner_steps)


def fit_and_average(
    options: Options,
    module: SpeechLLMModule,
    datamodule: DataModule,
    loggers: list[pl.loggers.Logger],
    parts: Mapping[str, nn.Module],
    resume_from: Path | None,
    callbacks: Sequence[pl.Callback] = (),
) -> tuple[pl.Trainer, Checkpoint]:
    """Train, and write the mean of the last checkpoints. parts: of the model, for the summary.

    Raises Stopped after a signal, with a word on how to go on.
    """
    run, kept = RunFolder(options.run_dir), options.checkpoints
    stop = GracefulStop(run.checkpoints_folder)
    all_callbacks = [
        RunCheckpoints(run, kept.num_check_save, kept.save_every_n_steps, resume_from),
        TrainingMonitor(),
        sessions.SessionLog(run.path, resumes=resume_from is not None),
        *callbacks,
        progress_bar(),
        stop,
    ]
    trainer = make_trainer(options, all_callbacks, loggers or False, options.run_dir)
    if trainer.is_global_zero:
        LOGGER.info("%s\n%s", options.run_dir, summarise(module.model, parts))
    fit(trainer, module, datamodule, resume_from)
    stop.drop_checkpoints(trainer)
    return trainer, average_last(trainer, run, options)


def fit(
    trainer: pl.Trainer,
    module: SpeechLLMModule,
    datamodule: DataModule,
    resume_from: Path | None,
) -> None:
    """Raises Stopped after a signal, with a word on how to go on."""
    if resume_from is not None:
        LOGGER.info("Restoring weights, optimiser and place in the data from %s", resume_from)
    with stopping.asking(), denormals_as_zero():
        trainer.fit(module, datamodule=datamodule, ckpt_path=resume_from, weights_only=True)
    if stopping.requested() is not None:  # too late for the last epoch
        raise Stopped(stopping.requested(), f"{RESUMING} averages and evaluates")


def start_of(path: Path) -> Checkpoint:
    """The checkpoint to start a new training from. Raises ValueError for a published file."""
    source = find_source(path)
    if not isinstance(source, Checkpoint):
        raise ValueError(
            f"--pretrained-model-path {path}: training starts from a checkpoint folder; convert the "
            "published file first: python -m llama_avsr.released convert"
        )
    return source


def find_resume(options: Options) -> Path | None:
    """The checkpoint to resume from; `last` is the newest of the run. Raises ValueError for a missing one.

    A job that SLURM put into the queue again goes on by itself where it was stopped.
    """
    path, run = options.checkpoints.ckpt_path, RunFolder(options.run_dir)
    if path is None:
        return run.newest() if run.requeue_checkpoints() else None
    if str(path) == "last":
        found = run.newest()
        if found is None:
            raise ValueError(
                f"--ckpt-path last: found no checkpoint in {run.checkpoints_folder}; give its folder"
            )
        return found
    if not (path / checkpoint.RESUME).is_file():
        raise ValueError(
            f"--ckpt-path {path}: found no {checkpoint.RESUME} there; expected a checkpoint folder of an "
            "interrupted training (to start a new training from a model: --pretrained-model-path)"
        )
    checkpoint.verify(path)
    return path


def check_run_name(options: Options) -> None:
    """Raises ValueError for a name that leads elsewhere."""
    if not options.run_dir.resolve().is_relative_to(options.run.exp_dir.resolve()):
        raise ValueError(f"--exp-name {options.run_name} leads out of --exp-dir; take a name inside it")


def optimisation_of(options: Options) -> Optimisation:
    training = options.training
    return Optimisation(
        lr=training.lr,
        weight_decay=training.weight_decay,
        betas=training.adam_betas,
        eps=training.adam_eps,
        schedule=partial(_schedule, training),
        encoder_unfreeze_step=training.encoder_unfreeze_step or 0,
        ctc_epochs=training.ctc_epochs if training.ctc_weight else 0,
    )


def mix_of(options: Options, model: SpeechLLM) -> Mix | None:
    """What a step of a model for several tasks or rates is made of."""
    if len(model.views) == 1:
        return None
    training = options.training
    views = list(model.views.values())
    return Mix(views, training.task_weights, training.rates_per_step == "drawn", options.hardware.seed)


def _schedule(training: TrainingOptions, steps_per_epoch: int, total_steps: int) -> Schedule:
    """One for all steps, or one for the epochs of alignment and another, from its beginning, for the rest."""
    alone = training.ctc_epochs * steps_per_epoch if training.ctc_weight else 0
    if not 0 < alone < total_steps:
        return _one_schedule(training, steps_per_epoch, total_steps)
    first = _one_schedule(training, steps_per_epoch, alone)
    then = _one_schedule(training, steps_per_epoch, total_steps - alone)
    return lambda step: first(step) if step < alone else then(step - alone)


def _one_schedule(training: TrainingOptions, steps_per_epoch: int, total_steps: int) -> Schedule:
    warmup = training.warmup_steps
    if warmup is None:
        warmup = training.warmup_epochs * steps_per_epoch
    if training.lr_schedule == "cosine":
        return cosine_with_warmup(warmup, total_steps)
    if training.lr_schedule == "floored-cosine":
        return floored_cosine(warmup, total_steps, training.init_lr_scale, training.final_lr_scale)
    decay = training.decay_steps
    return tri_stage(
        warmup,
        training.hold_steps,
        total_steps - warmup - training.hold_steps if decay is None else decay,
        training.init_lr_scale,
        training.final_lr_scale,
    )


def loggers_of(options: Options, resume: bool) -> list[pl.loggers.Logger]:
    run = options.run
    if not run.loggers:
        return []
    return make_loggers(
        options.run_dir,
        run.wandb_project,
        options.run_name,
        to_dict(options),
        resume=resume,
        kinds=run.loggers,
    )


def average_last(trainer: pl.Trainer, run: RunFolder, options: Options) -> Checkpoint:
    """Write the mean of the last epochs' checkpoints on the disk; returns it on every process."""
    if trainer.is_global_zero:
        run.write_average(trainer.global_step, options.checkpoints.num_average_epochs, to_dict(options))
        # Lightning would test them in place of the average.
        run.drop_requeue_checkpoints()
    trainer.strategy.barrier()
    return Checkpoint(run.average)
