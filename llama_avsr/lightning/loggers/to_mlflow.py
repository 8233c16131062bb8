"""MLflow: the server that MLFLOW_TRACKING_URI names or, without one, `mlflow.db` in the run's folder."""

from __future__ import annotations

import logging
import os
import tempfile
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pytorch_lightning.loggers import MLFlowLogger

from llama_avsr.lightning.loggers.contents import Panel, Sample, markdown_of, write_mp4, write_wav
from llama_avsr.lightning.loggers.safe import brief

log = logging.getLogger(__name__)
URI = "MLFLOW_TRACKING_URI"
DATABASE = "mlflow.db"
FILES = "mlflow"
"""Folder of what the database points to."""
RUN_ID_FILE = "mlflow_run_id.txt"
PROBE_SECONDS = 5.0
IMPATIENT = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2", "MLFLOW_HTTP_REQUEST_TIMEOUT": "10"}
"""MLflow waits for a server that has gone away for ten minutes and more at each step."""


class MLflow:
    """save_dir: receives `mlflow.db` and `mlflow/` where there is no server. project: name of the experiment.
    name: of the run. config: its parameters. resume: the curves of the earlier run go on."""

    title = "MLflow"
    patience = 3

    def __init__(
        self, save_dir: Path, project: str, name: str | None, config: Mapping[str, Any], resume: bool = False
    ) -> None:
        self._save_dir = Path(save_dir).absolute()
        self.name = project
        self._run_name = name
        self._config = dict(config)
        self._resume = resume

    def open(self, step: int | None) -> MLFlowLogger | None:
        uri = os.environ.get(URI)
        problem = _why_not(uri) if uri else None
        if problem is not None:
            log.warning("MLflow records in %s (%s)", self._save_dir / DATABASE, problem)
        for name, value in IMPATIENT.items():
            os.environ.setdefault(name, value)
        is_local = uri is None or problem is not None
        try:
            return self._start(f"sqlite:///{self._save_dir / DATABASE}" if is_local else uri, is_local)
        except Exception as error:
            log.warning("MLflow could not be started (%s); the run continues without it", brief(error))
            return None

    def log_samples(self, inner: MLFlowLogger, samples: Sequence[Sample], step: int | None) -> None:
        place = f"samples/{step or 0:06d}"
        with tempfile.TemporaryDirectory(prefix="samples-") as folder:
            for index, sample in enumerate(samples):
                if sample.audio is not None:
                    write_wav(Path(folder) / f"{index}.wav", sample.audio)
                if sample.video is not None:
                    write_mp4(Path(folder) / f"{index}.mp4", sample.video)
            (Path(folder) / "samples.md").write_text(f"{markdown_of(samples)}\n", encoding="utf-8")
            inner.experiment.log_artifacts(inner.run_id, folder, place)

    def log_panel(self, inner: MLFlowLogger, panel: Panel) -> None:
        inner.experiment.log_text(inner.run_id, f"{panel.markdown}\n", f"{panel.name}.md")
        if panel.picture is not None:
            inner.experiment.log_artifact(inner.run_id, str(panel.picture))

    def log_summary(self, inner: MLFlowLogger, summary: Mapping[str, Any]) -> None:
        inner.log_metrics({name: float(value) for name, value in summary.items() if _is_figure(value)})

    def close(self, inner: MLFlowLogger) -> None:
        inner.finalize("success")

    def _start(self, uri: str, is_local: bool) -> MLFlowLogger:
        self._save_dir.mkdir(parents=True, exist_ok=True)
        logging.getLogger("alembic").setLevel(logging.WARNING)  # it tells of each table that it makes
        path = self._save_dir / RUN_ID_FILE
        earlier = path.read_text(encoding="utf-8").strip() if self._resume and path.is_file() else None
        inner = MLFlowLogger(
            experiment_name=self.name,
            run_name=self._run_name,
            tracking_uri=uri,
            artifact_location=(self._save_dir / FILES).as_uri() if is_local else None,
            run_id=earlier or None,
        )
        path.write_text(f"{inner.run_id}\n", encoding="utf-8")
        if earlier is None:
            inner.log_hyperparams(self._config)
        return inner


def _why_not(uri: str) -> str | None:
    """None for a server that answers, and for what is no server; else what is wrong."""
    if not uri.startswith(("http://", "https://")):
        return None
    try:
        with urllib.request.urlopen(f"{uri.rstrip('/')}/health", timeout=PROBE_SECONDS):
            return None
    except OSError as error:
        return f"{uri} could not be reached: {brief(error)}"


def _is_figure(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
