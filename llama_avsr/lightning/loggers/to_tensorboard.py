"""TensorBoard: `tensorboard/` in the run's folder."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pytorch_lightning.loggers import TensorBoardLogger

from datamodules.batch import SAMPLE_RATE_HZ
from llama_avsr.lightning.loggers.contents import Panel, Sample, markdown_of
from llama_avsr.lightning.loggers.safe import brief

log = logging.getLogger(__name__)
FOLDER = "tensorboard"
SHOWN_FRAMES = 8
"""Of a mouth, side by side: TensorBoard shows pictures, and films as GIFs alone, with yet another package."""


class TensorBoard:
    """save_dir: receives `tensorboard/`. resume: curves go on from the first step that is logged."""

    title = "TensorBoard"
    patience = None

    def __init__(self, save_dir: Path, config: Mapping[str, Any], resume: bool = False) -> None:
        self._save_dir = Path(save_dir)
        self.name = FOLDER
        self._config = dict(config)
        self._resume = resume

    def open(self, step: int | None) -> TensorBoardLogger | None:
        # Points of later steps, of a run that was cut off, are hidden.
        purged = {"purge_step": step} if self._resume and step is not None else {}
        try:
            inner = TensorBoardLogger(
                self._save_dir, name="", version=FOLDER, default_hp_metric=False, **purged
            )
            inner.log_hyperparams(self._config)
            inner.save()
            return inner
        except Exception as error:
            log.warning("TensorBoard could not be started (%s); the run continues without it", brief(error))
            return None

    def log_samples(self, inner: TensorBoardLogger, samples: Sequence[Sample], step: int | None) -> None:
        writer = inner.experiment
        writer.add_text("samples", markdown_of(samples), step)
        for index, sample in enumerate(samples):
            tag = f"samples/{index}"
            if sample.audio is not None:
                writer.add_audio(f"{tag}/sound", np.clip(sample.audio, -1, 1)[None], step, SAMPLE_RATE_HZ)
            if sample.video is not None:
                writer.add_image(f"{tag}/mouth", _strip(sample.video), step, dataformats="HW")

    def log_panel(self, inner: TensorBoardLogger, panel: Panel) -> None:
        from PIL import Image

        inner.experiment.add_text(panel.name, panel.markdown)
        if panel.picture is not None:
            with Image.open(panel.picture) as picture:
                pixels = np.asarray(picture.convert("RGB"))
            inner.experiment.add_image(panel.name, pixels, dataformats="HWC")

    def log_summary(self, inner: TensorBoardLogger, summary: Mapping[str, Any]) -> None:
        figures = {name: value for name, value in summary.items() if _is_figure(value)}
        rows = "\n".join(f"| {name} | {value:.4g} |" for name, value in figures.items())
        inner.experiment.add_text("summary", f"| | |\n|---|---|\n{rows}")

    def close(self, inner: TensorBoardLogger) -> None:
        inner.experiment.close()


def _is_figure(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _strip(frames: np.ndarray) -> np.ndarray:
    """[T, H, W] to [H, n * W], n frames spread over the clip."""
    places = np.linspace(0, len(frames) - 1, min(SHOWN_FRAMES, len(frames))).round().astype(int)
    return np.concatenate(list(frames[places]), axis=1)
