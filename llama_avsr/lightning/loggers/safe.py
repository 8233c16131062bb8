"""A logger that a run never depends on: whatever it raises becomes a warning."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from pytorch_lightning.loggers import Logger
from pytorch_lightning.utilities.rank_zero import rank_zero_only

from llama_avsr.lightning.loggers.contents import Panel, Sample

log = logging.getLogger(__name__)


class Recorder(Protocol):
    """One place to record a run in."""

    title: str
    """As people call it."""
    name: str
    """Of the project there."""
    patience: int | None
    """So many failures in a row, and nothing more is tried; None: go on trying."""

    def open(self, step: int | None) -> Logger | None:
        """Lightning's own logger, begun; None where that is impossible. step: the first to be logged."""

    def log_samples(self, inner: Any, samples: Sequence[Sample], step: int | None) -> None:
        """Show sample predictions, with sound and mouth."""

    def log_panel(self, inner: Any, panel: Panel) -> None:
        """Show a table and its plot."""

    def log_summary(self, inner: Any, summary: Mapping[str, Any]) -> None:
        """Keep final figures."""

    def close(self, inner: Any) -> None:
        """End the recording."""


class SafeLogger(Logger):
    """What `recorder` records, on the first rank; opened when something is logged."""

    def __init__(self, recorder: Recorder) -> None:
        super().__init__()
        self._recorder = recorder
        self._opened = False
        self._inner: Any = None
        self._warned: set[str] = set()
        self._failures = 0

    @property
    def name(self) -> str:
        return self._recorder.name

    @property
    def version(self) -> Any:
        return self._inner.version if self._inner else None

    @property
    def experiment(self) -> Any:
        """The run of the library that records; None before anything is logged, on other ranks, and where
        nothing can be recorded."""
        return self._inner.experiment if self._inner else None

    @rank_zero_only
    def log_hyperparams(self, params: Any, *_: Any, **__: Any) -> None:
        self._attempt("configuration", lambda inner: inner.log_hyperparams(params))

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        # A run that goes on with a validation has taken the step before it.
        first = step
        if step is not None and all(name.startswith("val/") or name == "epoch" for name in metrics):
            first = step + 1
        self._attempt("metrics", lambda inner: inner.log_metrics(metrics, step), first)

    @rank_zero_only
    def log_samples(self, samples: Sequence[Sample], step: int | None = None) -> None:
        self._attempt("samples", lambda inner: self._recorder.log_samples(inner, samples, step))

    @rank_zero_only
    def log_panel(self, panel: Panel) -> None:
        self._attempt(panel.name, lambda inner: self._recorder.log_panel(inner, panel))

    @rank_zero_only
    def finish(self, summary: Mapping[str, Any]) -> None:
        """Keep final figures and end the recording."""
        if summary:
            self._attempt("summary", lambda inner: self._recorder.log_summary(inner, summary))
        if self._inner is not None:
            self._attempt("end of the run", self._recorder.close)
            self._inner = None

    def _attempt(self, what: str, action: Callable[[Any], None], step: int | None = None) -> None:
        if not self._opened and rank_zero_only.rank == 0:
            self._opened = True
            self._inner = self._recorder.open(step)
        if self._inner is None:
            return
        try:
            action(self._inner)
        except Exception as error:
            self._failed(what, error)
        else:
            self._failures = 0

    def _failed(self, what: str, error: Exception) -> None:
        title, patience = self._recorder.title, self._recorder.patience
        self._failures += 1
        if what not in self._warned:
            self._warned.add(what)
            log.warning("%s: the %s could not be recorded (%s); the run continues", title, what, brief(error))
        if patience is not None and self._failures >= patience:
            log.warning("%s: given up after %d failures in a row", title, self._failures)
            self._inner = None


def brief(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
