"""Weights & Biases. Without a key or a server a run is recorded offline, and told how to upload it later."""

from __future__ import annotations

import contextlib
import logging
import os
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pytorch_lightning.loggers import WandbLogger

from llama_avsr.lightning.loggers.contents import Panel, Sample, scores_of, write_mp4, write_wav
from llama_avsr.lightning.loggers.safe import brief

log = logging.getLogger(__name__)
RUN_ID_FILE = "wandb_run_id.txt"
PROBE_SECONDS = 5.0
INIT_SECONDS = 30.0
FINISH_SECONDS = 120.0


class Wandb:
    """save_dir: receives `wandb/`. name: of the run. config: shown as the run's configuration."""

    title = "W&B"
    patience = None

    def __init__(
        self, save_dir: Path, project: str, name: str | None, config: Mapping[str, Any], resume: bool = False
    ) -> None:
        self._save_dir = Path(save_dir)
        self.name = project
        self._run_name = name
        self._config = dict(config)
        self._resume = resume

    def open(self, step: int | None) -> WandbLogger | None:
        problem, inner = _why_offline(), None
        if problem is None:
            inner, problem = self._start(os.environ.get("WANDB_MODE", "online"))
        if inner is None:
            inner, failure = self._start("offline")
            if inner is None:
                log.warning("W&B could not be started (%s); the run continues without it", failure)
                return None
            folder = Path(inner.experiment.dir).parent
            log.warning("W&B records offline (%s); later: wandb sync %s", problem, folder)
        return inner

    def log_samples(self, inner: WandbLogger, samples: Sequence[Sample], step: int | None) -> None:
        with tempfile.TemporaryDirectory(prefix="samples-") as folder:
            names = scores_of(samples)
            rows = [_table_row(sample, names, index, Path(folder)) for index, sample in enumerate(samples)]
            columns = ["id", "reference", "hypothesis", *names, "audio", "mouth"]
            with _staging_in(self._save_dir / "wandb" / "data"):
                inner.log_table("samples", columns=columns, data=rows, step=step)

    def log_panel(self, inner: WandbLogger, panel: Panel) -> None:
        import wandb

        with _staging_in(self._save_dir / "wandb" / "data"):
            inner.log_table(panel.name, columns=list(panel.header), data=[list(row) for row in panel.rows])
            if panel.lines:
                chart = wandb.plot.line_series(
                    xs=[list(line) for line in panel.lines.values()],
                    ys=[list(line.values()) for line in panel.lines.values()],
                    keys=list(panel.lines),
                    title=f"{panel.name}: error rate (%) by SNR",
                    xname="SNR (dB)",
                )
                inner.experiment.log({f"{panel.name}/by_snr": chart})
            if panel.picture is not None:
                inner.experiment.log({f"{panel.name}/picture": wandb.Image(str(panel.picture))})

    def log_summary(self, inner: WandbLogger, summary: Mapping[str, Any]) -> None:
        inner.experiment.summary.update(dict(summary))

    def close(self, inner: WandbLogger) -> None:
        """For at most two minutes."""
        inner.experiment.finish()

    def _start(self, mode: str) -> tuple[WandbLogger | None, str]:
        """A logger with its run begun, or None and the reason."""
        offline = mode == "offline"
        try:
            import wandb

            self._save_dir.mkdir(parents=True, exist_ok=True)
            run = wandb.init(
                project=self.name,
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
            return WandbLogger(project=self.name, save_dir=self._save_dir, experiment=run), ""
        except Exception as error:
            return None, brief(error)

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
        return brief(error)
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
