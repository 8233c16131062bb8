"""Where curves go: `metrics.csv` in the run's folder always, Weights & Biases on request.

A run never depends on Weights & Biases: without a key or a server it records offline and says how to upload
the recording later; whatever W&B raises becomes a warning.
"""

from __future__ import annotations

import contextlib
import csv
import importlib.util
import logging
import os
import tempfile
import threading
import wave
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from pytorch_lightning.loggers import CSVLogger, Logger, WandbLogger
from pytorch_lightning.loggers.csv_logs import ExperimentWriter
from pytorch_lightning.utilities.rank_zero import rank_zero_only

from datamodules.batch import SAMPLE_RATE_HZ, VIDEO_FPS

log = logging.getLogger(__name__)

METRICS_FILE = "metrics.csv"
RUN_ID_FILE = "wandb_run_id.txt"
PROBE_SECONDS = 5.0
INIT_SECONDS = 30.0
FINISH_SECONDS = 120.0


@dataclass(frozen=True, kw_only=True)
class Sample:
    """A decoded clip to look at and listen to."""

    id: str
    reference: str
    hypothesis: str
    scores: Mapping[str, float]
    """Its figures by name, such as "WER (%)": a column each."""
    audio: np.ndarray | None = None
    """[N] float32 in -1..1, 16 kHz."""
    video: np.ndarray | None = None
    """[T, H, W] uint8 grey, 25 fps."""


def check_installed(project: str | None) -> None:
    """Raises ValueError where a W&B project is named and wandb is not installed."""
    if project is not None and importlib.util.find_spec("wandb") is None:
        raise ValueError(
            f"--project-wandb {project} needs wandb, which is not installed: "
            'pip install "llama-avsr[wandb]", or leave the flag out'
        )


def make_loggers(
    save_dir: Path,
    project: str | None,
    name: str | None,
    config: Mapping[str, Any],
    *,
    resume: bool = False,
) -> list[Logger]:
    """The loggers of a run, for `Trainer(logger=...)`.

    Nothing is written, and no server asked, before something is logged on rank zero.

    save_dir: the run's folder; receives `metrics.csv` and, with W&B, `wandb/`.
    project: W&B project; None for no W&B. name: of the run, in W&B.
    config: what W&B shows as the run's configuration.
    resume: continue the curves that are there, from the step at which the run goes on. Otherwise an older
        `metrics.csv` is renamed to `metrics.old.csv`.
    """
    loggers: list[Logger] = [RunCSVLogger(save_dir, resume)]
    if project is not None:
        loggers.append(SafeWandbLogger(save_dir, project, name, config, resume))
    return loggers


@rank_zero_only
def log_samples(loggers: Iterable[Logger], samples: Sequence[Sample], step: int | None = None) -> None:
    """Show sample predictions, with sound and mouth, as a table. Loggers that can't are passed over."""
    for logger in loggers:
        if isinstance(logger, SafeWandbLogger):
            logger.log_samples(samples, step)


@rank_zero_only
def finish(loggers: Iterable[Logger], summary: Mapping[str, Any] | None = None) -> None:
    """Put final metrics into the run's summary, and end the recording."""
    for logger in loggers:
        if isinstance(logger, SafeWandbLogger):
            logger.finish(summary or {})


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


class SafeWandbLogger(Logger):
    """Lightning's WandbLogger, opened when first needed, whose failures are warnings."""

    def __init__(
        self, save_dir: Path, project: str, name: str | None, config: Mapping[str, Any], resume: bool = False
    ) -> None:
        super().__init__()
        self._save_dir = Path(save_dir)
        self._project = project
        self._run_name = name
        self._config = dict(config)
        self._resume = resume
        self._opened = False
        self._inner: WandbLogger | None = None
        self._warned: set[str] = set()

    @property
    def name(self) -> str:
        return self._project

    @property
    def version(self) -> str | None:
        return self._inner.version if self._inner else None

    @property
    def save_dir(self) -> str:
        return str(self._save_dir)

    @property
    def experiment(self) -> Any:
        """The W&B run; None on other ranks, or where W&B could not be started."""
        inner = self._open()
        return inner.experiment if inner else None

    @rank_zero_only
    def log_hyperparams(self, params: Any, *_: Any, **__: Any) -> None:
        self._attempt("configuration", lambda inner: inner.log_hyperparams(params))

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        self._attempt("metrics", lambda inner: inner.log_metrics(metrics, step))

    @rank_zero_only
    def log_samples(self, samples: Sequence[Sample], step: int | None = None) -> None:
        def send(inner: WandbLogger) -> None:
            with tempfile.TemporaryDirectory(prefix="samples-") as folder:
                names = list(dict.fromkeys(name for sample in samples for name in sample.scores))
                rows = [
                    _table_row(sample, names, index, Path(folder)) for index, sample in enumerate(samples)
                ]
                columns = ["id", "reference", "hypothesis", *names, "audio", "mouth"]
                with _staging_in(self._save_dir / "wandb" / "data"):
                    inner.log_table("samples", columns=columns, data=rows, step=step)

        self._attempt("samples", send)

    @rank_zero_only
    def finish(self, summary: Mapping[str, Any]) -> None:
        """Set the summary and close the run, for at most two minutes."""
        if summary:
            self._attempt("summary", lambda inner: inner.experiment.summary.update(dict(summary)))
        if self._inner is not None:
            self._attempt("end of the run", lambda inner: inner.experiment.finish())
            self._inner = None

    def _attempt(self, what: str, action: Callable[[WandbLogger], None]) -> None:
        inner = self._open()
        if inner is None:
            return
        try:
            action(inner)
        except Exception as error:
            if what not in self._warned:
                self._warned.add(what)
                log.warning("W&B: the %s could not be recorded (%s); the run continues", what, _brief(error))

    def _open(self) -> WandbLogger | None:
        if self._opened or rank_zero_only.rank != 0:
            return self._inner
        self._opened = True
        problem = _why_offline()
        if problem is None:
            self._inner, problem = self._start(os.environ.get("WANDB_MODE", "online"))
        if self._inner is None:
            self._inner, failure = self._start("offline")
            if self._inner is None:
                log.warning("W&B could not be started (%s); the run continues without it", failure)
                return None
            folder = Path(self._inner.experiment.dir).parent
            log.warning("W&B records offline (%s); later: wandb sync %s", problem, folder)
        return self._inner

    def _start(self, mode: str) -> tuple[WandbLogger | None, str]:
        """A logger with its run begun, or None and the reason."""
        offline = mode == "offline"
        try:
            import wandb

            self._save_dir.mkdir(parents=True, exist_ok=True)
            run = wandb.init(
                project=self._project,
                name=self._run_name,
                dir=str(self._save_dir),
                id=self._earlier_id(),
                resume=None if offline else "allow",
                config=self._config,
                mode=mode,
                reinit="finish_previous",
                settings=wandb.Settings(
                    init_timeout=INIT_SECONDS, finish_timeout=FINISH_SECONDS, quiet=True, silent=offline
                ),
            )
            run.define_metric("trainer/global_step")
            run.define_metric("*", step_metric="trainer/global_step", step_sync=True)
            (self._save_dir / RUN_ID_FILE).write_text(f"{run.id}\n", encoding="utf-8")
            return WandbLogger(project=self._project, save_dir=self._save_dir, experiment=run), ""
        except Exception as error:
            return None, _brief(error)

    def _earlier_id(self) -> str | None:
        path = self._save_dir / RUN_ID_FILE
        return path.read_text().strip() or None if self._resume and path.is_file() else None


def _why_offline() -> str | None:
    """The reason not to go online; None where there is a key that the server, asked briefly, knows."""
    mode = os.environ.get("WANDB_MODE")
    if mode in ("offline", "dryrun"):
        return f"WANDB_MODE={mode}"
    if mode == "disabled":
        return None
    try:
        import wandb

        key, url = wandb.api.api_key, wandb.api.settings("base_url")
    except Exception as error:
        return _brief(error)
    return _ask_server(url, key) if key else "no API key; `wandb login` stores one"


def _ask_server(url: str, key: str) -> str | None:
    """None if the W&B server at `url` answers within seconds and knows `key`, else what is wrong.

    `wandb.init` is not asked: it repeats a failing request for many minutes.
    """
    answers: list[str | None] = []

    def ask() -> None:
        import requests

        query = {"query": "query Viewer { viewer { id } }"}
        try:
            reply = requests.post(f"{url}/graphql", json=query, auth=("api", key), timeout=PROBE_SECONDS)
            known = reply.ok and (reply.json().get("data") or {}).get("viewer")
        except Exception as error:
            answers.append(f"{url} could not be reached: {type(error).__name__}")
        else:
            refusal = "does not know the API key" if reply.ok else f"answers {reply.status_code}"
            answers.append(None if known else f"{url} {refusal}")

    # A silent name server holds the call longer than any timeout of its own.
    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(2 * PROBE_SECONDS)
    return answers[0] if answers else f"{url} does not answer"


@contextlib.contextmanager
def _staging_in(folder: Path) -> Iterator[None]:
    """Have W&B keep a table's files here until they are uploaded, not in the home folder.

    On a cluster the folder of the run is what the machine with a network sees, too.
    """
    name = "WANDB_DATA_DIR"
    if name in os.environ:
        yield
        return
    os.environ[name] = str(folder.resolve())
    try:
        yield
    finally:
        del os.environ[name]


def _table_row(sample: Sample, scores: Sequence[str], index: int, folder: Path) -> list[Any]:
    """scores: the names of the table's figures; a clip may lack some."""
    import wandb

    audio = video = None
    if sample.audio is not None:
        audio = wandb.Audio(write_wav(folder / f"{index}.wav", sample.audio))
    if sample.video is not None:
        video = wandb.Video(write_mp4(folder / f"{index}.mp4", sample.video), format="mp4")
    return [sample.id, sample.reference, sample.hypothesis, *map(sample.scores.get, scores), audio, video]


def write_wav(path: Path, waveform: np.ndarray) -> str:
    """Write [N] floats in -1..1 (louder is clipped) as 16-bit, 16 kHz. Returns the path."""
    samples = np.clip(np.asarray(waveform, dtype=np.float64) * 32767, -32768, 32767).round().astype("<i2")
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(SAMPLE_RATE_HZ)
        file.writeframes(samples.tobytes())
    return str(path)


def write_mp4(path: Path, frames: np.ndarray) -> str:
    """Write [T, H, W] uint8 grey frames at 25 fps, as H.264 that browsers play. Returns the path."""
    import av

    frames = np.asarray(frames)
    if frames.ndim != 3 or frames.dtype != np.uint8:
        raise ValueError(f"found video {list(frames.shape)} of {frames.dtype}; expected [T, H, W] of uint8")
    # 4:2:0 halves both sides of the colour planes.
    frames = np.pad(frames, ((0, 0), (0, frames.shape[1] % 2), (0, frames.shape[2] % 2)), mode="edge")
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=Fraction(VIDEO_FPS), options={"crf": "18"})
        stream.height, stream.width = frames.shape[1:]
        stream.pix_fmt = "yuv420p"
        for frame in frames:
            container.mux(
                stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="gray"))
            )
        container.mux(stream.encode())
    return str(path)


def _brief(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
