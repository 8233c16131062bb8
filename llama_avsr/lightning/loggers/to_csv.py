"""`metrics.csv` in the run's folder."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

from pytorch_lightning.loggers import CSVLogger
from pytorch_lightning.loggers.csv_logs import ExperimentWriter
from pytorch_lightning.utilities.rank_zero import rank_zero_only

METRICS_FILE = "metrics.csv"


class _RunWriter(ExperimentWriter):
    """Keeps the rows of an interrupted run up to the step at which it goes on."""

    def __init__(self, log_dir: str, resume: bool) -> None:
        self._resume = resume
        super().__init__(log_dir=log_dir)
        self._trimmed = not self.metrics_keys

    def _check_log_dir_exists(self) -> None:
        # The original deletes the file of an earlier run.
        path = Path(self.metrics_file_path)
        if not path.is_file():
            return
        if self._resume:
            with path.open(newline="", encoding="utf-8") as file:
                self.metrics_keys = next(csv.reader(file), [])
        else:
            path.replace(path.with_name("metrics.old.csv"))

    def log_metrics(self, metrics_dict: dict[str, float], step: int | None = None) -> None:
        if not self._trimmed and step is not None:
            # A run that goes on with a validation has taken the step before it.
            self._drop_rows_from(step, {key for key in metrics_dict if key.startswith("val/")})
            self._trimmed = True
        super().log_metrics(metrics_dict, step)

    def _drop_rows_from(self, step: int, validated: set[str]) -> None:
        def is_kept(row: dict[str, str]) -> bool:
            if not row["step"] or int(row["step"]) > step:
                return False
            return int(row["step"]) < step or (bool(validated) and not any(map(row.get, validated)))

        path = Path(self.metrics_file_path)
        with path.open(newline="", encoding="utf-8") as file:
            kept = [row for row in csv.DictReader(file) if is_kept(row)]
        temporary = path.with_suffix(".tmp")
        with temporary.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, fieldnames=self.metrics_keys)
            writer.writeheader()
            writer.writerows(kept)
        temporary.replace(path)


class RunCSVLogger(CSVLogger):
    """`metrics.csv` straight in the run's folder."""

    def __init__(self, save_dir: Path, resume: bool = False) -> None:
        super().__init__(save_dir, name="", version="")
        self._resume = resume

    @property
    def log_dir(self) -> str:
        return self.save_dir

    @property
    def experiment(self) -> Any:
        if self._experiment is None and rank_zero_only.rank == 0:
            self._experiment = _RunWriter(self.log_dir, self._resume)
        return super().experiment
