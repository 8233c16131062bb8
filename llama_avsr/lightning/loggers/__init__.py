"""Where curves go: `metrics.csv` in the run's folder always; TensorBoard, MLflow and W&B on request.

A run never depends on the others: what they raise becomes a warning.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pytorch_lightning.loggers import Logger
from pytorch_lightning.utilities.rank_zero import rank_zero_only

from llama_avsr.lightning.loggers.contents import Panel, Sample, write_mp4, write_wav
from llama_avsr.lightning.loggers.safe import Recorder, SafeLogger
from llama_avsr.lightning.loggers.to_csv import METRICS_FILE, RunCSVLogger
from llama_avsr.lightning.loggers.to_mlflow import MLflow
from llama_avsr.lightning.loggers.to_tensorboard import TensorBoard
from llama_avsr.lightning.loggers.to_wandb import Wandb

__all__ = [
    "METRICS_FILE",
    "Panel",
    "Sample",
    "check_installed",
    "finish",
    "log_panel",
    "log_samples",
    "make_loggers",
    "write_mp4",
    "write_wav",
]

PROJECT = "llama-avsr"
"""MLflow's experiment, where no W&B project gives another name."""
PACKAGES = ("wandb", "tensorboard", "mlflow")


def check_installed(project: str | None, kinds: Collection[str] = ()) -> None:
    """Raises ValueError where a logger is asked for and its package is not installed.

    project: of W&B, for it alone. kinds: other loggers.
    """
    asked = {"wandb": f"--project-wandb {project}"} if project is not None else {}
    asked |= {kind: f"--logger {kind}" for kind in kinds if kind in PACKAGES and kind not in asked}
    for package, flag in asked.items():
        if importlib.util.find_spec(package) is None:
            raise ValueError(
                f"{flag} needs {package}, which is not installed: "
                f'pip install "llama-avsr[{package}]", or leave the flag out'
            )


def make_loggers(
    save_dir: Path,
    project: str | None,
    name: str | None,
    config: Mapping[str, Any],
    *,
    resume: bool = False,
    kinds: Collection[str] = (),
) -> list[Logger]:
    """The loggers of a run, for `Trainer(logger=...)`, `metrics.csv` first.

    Nothing is written, and no server asked, before something is logged on rank zero.

    save_dir: the run's folder; receives `metrics.csv`, `wandb/`, `tensorboard/`, `mlflow.db`.
    project: W&B project; None for no W&B. name: of the run, in W&B and MLflow.
    config: what is shown as the run's configuration.
    resume: continue the curves that are there, from the step at which the run goes on. Otherwise an older
        `metrics.csv` is renamed to `metrics.old.csv`.
    kinds: others, "tensorboard" and "mlflow".
    """
    recorders: list[Recorder] = []
    if project is not None:
        recorders.append(Wandb(save_dir, project, name, config, resume))
    if "tensorboard" in kinds:
        recorders.append(TensorBoard(save_dir, config, resume))
    if "mlflow" in kinds:
        recorders.append(MLflow(save_dir, project or PROJECT, name, config, resume))
    return [RunCSVLogger(save_dir, resume), *map(SafeLogger, recorders)]


@rank_zero_only
def log_samples(loggers: Iterable[Logger], samples: Sequence[Sample], step: int | None = None) -> None:
    """Show sample predictions, with sound and mouth. Loggers that can't are passed over."""
    for logger in loggers:
        if isinstance(logger, SafeLogger):
            logger.log_samples(samples, step)


@rank_zero_only
def log_panel(loggers: Iterable[Logger], panel: Panel) -> None:
    """Show a table with its plot. Loggers that can't are passed over."""
    for logger in loggers:
        if isinstance(logger, SafeLogger):
            logger.log_panel(panel)


@rank_zero_only
def finish(loggers: Iterable[Logger], summary: Mapping[str, Any] | None = None) -> None:
    """Keep final metrics, and end the recording."""
    for logger in loggers:
        if isinstance(logger, SafeLogger):
            logger.finish(summary or {})
