import csv
import json
import logging
import socket
import sys
import threading
import time
import wave
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import av
import numpy as np
import pytest
import pytorch_lightning as pl
import torch
import wandb
from PIL import Image
from pytorch_lightning.loggers import CSVLogger
from pytorch_lightning.utilities.rank_zero import rank_zero_only

from llama_avsr.lightning.loggers import (
    Panel,
    Sample,
    check_installed,
    finish,
    log_panel,
    log_samples,
    make_loggers,
    write_mp4,
    write_wav,
)
from llama_avsr.lightning.loggers import to_wandb as module


@pytest.fixture(autouse=True)
def no_account(monkeypatch, tmp_path):
    for name in ("WANDB_MODE", "WANDB_API_KEY", "WANDB_DATA_DIR", "WANDB_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("NETRC", str(tmp_path / "no-netrc"))


def rows_of(folder):
    with (folder / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def log_steps(loggers, steps, **metrics):
    for step in steps:
        for logger in loggers:
            logger.log_metrics({"loss": float(step), **metrics}, step)
            logger.save()


def messages(caplog):
    return [
        record.getMessage()
        for record in caplog.records
        if record.name.startswith("llama_avsr.lightning.loggers")
    ]


def finished_recording(folder):
    """The content of W&B's file, whose own process completes it a moment after the run's end."""
    (path,) = folder.glob("*.wandb")
    for _ in range(200):
        if path.stat().st_size > 1000:
            break
        time.sleep(0.05)
    return path.read_bytes()


def sample(**changes):
    values = {"id": "demo/a", "reference": "a b", "hypothesis": "a c", "scores": {"WER (%)": 50.0}}
    return Sample(**{**values, **changes})


def test_csv_in_the_run_folder(tmp_path):
    loggers = make_loggers(tmp_path / "run", None, None, {})
    assert [type(logger).__bases__[0] for logger in loggers] == [CSVLogger]
    assert not (tmp_path / "run").exists()
    log_steps(loggers, range(3))
    log_samples(loggers, [sample()])
    finish(loggers, {"test/wer": 1.0})
    assert [float(row["loss"]) for row in rows_of(tmp_path / "run")] == [0, 1, 2]
    assert loggers[0].log_dir == str(tmp_path / "run")


def test_resumed_curve_is_the_uninterrupted_one(tmp_path):
    log_steps(make_loggers(tmp_path, None, None, {}), range(6))
    # The checkpoint is older than the last logged step.
    log_steps(make_loggers(tmp_path, None, None, {}, resume=True), range(4, 9), lr=0.5)
    rows = rows_of(tmp_path)
    assert [int(row["step"]) for row in rows] == list(range(9))
    assert [row["lr"] for row in rows] == [""] * 4 + ["0.5"] * 5


def test_new_run_keeps_the_old_curve_aside(tmp_path):
    log_steps(make_loggers(tmp_path, None, None, {}), range(6))
    log_steps(make_loggers(tmp_path, None, None, {}), range(2))
    assert len(rows_of(tmp_path)) == 2
    assert len((tmp_path / "metrics.old.csv").read_text().splitlines()) == 7


def test_resume_without_an_earlier_file(tmp_path):
    log_steps(make_loggers(tmp_path, None, None, {}, resume=True), range(2))
    assert len(rows_of(tmp_path)) == 2


class Tiny(pl.LightningModule):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(2, 1)

    def training_step(self, batch, _):
        loss = self.layer(batch[0]).pow(2).mean()
        self.log("train/loss", loss)
        return loss

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.1)


def fit(loggers):
    data = torch.utils.data.TensorDataset(torch.randn(4, 2))
    trainer = pl.Trainer(
        accelerator="cpu",
        logger=loggers,
        max_epochs=1,
        log_every_n_steps=1,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(Tiny(), torch.utils.data.DataLoader(data))
    return trainer


def test_offline_run(tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("WANDB_MODE", "offline")
    folder = tmp_path / "run"
    loggers = make_loggers(folder, "project", "name", {"lr": 0.25})
    with caplog.at_level(logging.WARNING, logger="llama_avsr.lightning.loggers"):
        fit(loggers)
        noise = np.random.default_rng(0)
        video = noise.integers(0, 255, (25, 88, 88)).astype(np.uint8)
        audio = noise.normal(0, 0.1, 16000).astype(np.float32)
        log_samples(loggers, [sample(audio=audio, video=video), sample()], step=3)
        run = loggers[1].experiment
        assert run.summary["train/loss"] >= 0
        assert run.config["lr"] == 0.25
        finish(loggers, {"test/wer": 12.5})
    said = messages(caplog)
    assert len(said) == 1
    (recording,) = (folder / "wandb").glob("offline-run-*")
    assert f"wandb sync {recording}" in said[0]
    recorded = finished_recording(recording)
    assert b"test/wer" in recorded
    assert b"12.5" in recorded
    assert len(rows_of(folder)) == 4
    assert list(recording.rglob("*.table.json"))
    staged = [path.read_bytes() for path in (folder / "wandb" / "data").rglob("*") if path.is_file()]
    assert any(content[4:8] == b"ftyp" for content in staged)
    assert any(content[:4] == b"RIFF" for content in staged)
    assert "WANDB_DATA_DIR" not in module.os.environ


def test_samples_of_a_mixed_set_have_a_column_for_each_metric(tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    loggers = make_loggers(tmp_path, "project", None, {})
    log_samples(loggers, [sample(), sample(scores={"sentence BLEU": 12.5})])
    folder = Path(loggers[1].experiment.dir).parent
    finish(loggers)
    (table,) = (json.loads(path.read_text()) for path in folder.rglob("*.table.json"))
    assert table["columns"] == ["id", "reference", "hypothesis", "WER (%)", "sentence BLEU", "audio", "mouth"]
    assert [row[3:5] for row in table["data"]] == [[50.0, None], [None, 12.5]]


def test_a_grid_is_a_table_a_chart_and_a_picture(tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    picture = tmp_path / "grid.png"
    Image.new("RGB", (30, 20)).save(picture)
    rows = [("white", 0, 30.0), ("white", 10, 20.0)]
    grid = Panel(
        name="grid",
        header=("noise", "snr_db", "value"),
        rows=rows,
        markdown="",
        lines={"white": {0: 30.0, 10: 20.0}},
        picture=picture,
    )
    loggers = make_loggers(tmp_path, "project", None, {})
    log_panel(loggers, grid)
    folder = Path(loggers[1].experiment.dir).parent
    finish(loggers)
    tables = [json.loads(path.read_text()) for path in folder.rglob("*.table.json")]
    assert [list(row) for row in rows] in [table["data"] for table in tables]
    assert ["snr_db"] in [[name for name in table["columns"] if name == "snr_db"] for table in tables]
    assert [path.read_bytes() for path in folder.rglob("*.png")] == [picture.read_bytes()]
    assert b"grid/by_snr" in finished_recording(folder)


def test_no_key_records_offline_without_asking_a_server(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(module, "_ask_server", lambda *_: pytest.fail("asked"))
    asked_mode = {}

    def init(**settings):
        asked_mode.update(settings)
        raise OSError("read-only")

    monkeypatch.setattr(wandb, "init", init)
    monkeypatch.setattr(type(wandb.api), "api_key", None)
    loggers = make_loggers(tmp_path, "project", None, {})
    log_steps(loggers, range(2))
    assert asked_mode["mode"] == "offline"
    assert messages(caplog) == ["W&B could not be started (OSError: read-only); the run continues without it"]


def test_online_failure_falls_back_to_offline(tmp_path, monkeypatch):
    modes = []

    def init(**settings):
        modes.append(settings["mode"])
        raise wandb.errors.CommError("down")

    monkeypatch.setattr(module, "_why_offline", lambda: None)
    monkeypatch.setattr(wandb, "init", init)
    loggers = make_loggers(tmp_path, "project", None, {})
    log_steps(loggers, range(2))
    assert modes == ["online", "offline"]
    assert loggers[1].experiment is None


class BrokenRun:
    id = "run-id"
    name = "broken"

    def __init__(self, folder):
        self.dir = str(folder / "files")

    def __getattr__(self, name):
        raise RuntimeError(f"W&B is broken at {name}")

    def define_metric(self, *_args, **_kwargs):
        pass


def test_a_run_outlives_everything_wandb_raises(tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setattr(wandb, "init", lambda **_: BrokenRun(tmp_path))
    loggers = make_loggers(tmp_path, "project", None, {})
    trainer = fit(loggers)
    log_samples(loggers, [sample()])
    finish(loggers, {"test/wer": 1.0})
    assert trainer.global_step == len(rows_of(tmp_path)) == 4
    said = " ".join(messages(caplog))
    for part in ("metrics", "samples", "summary", "end of the run"):
        assert said.count(f"the {part} could not be recorded") == 1


def test_a_run_outlives_a_missing_wandb(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    loggers = make_loggers(tmp_path, "project", None, {})
    assert fit(loggers).global_step == 4
    finish(loggers, {"test/wer": 1.0})
    assert len(rows_of(tmp_path)) == 4


def test_wandb_that_is_asked_for_and_not_installed_is_an_error_before_the_run(monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(ValueError, match=r"--project-wandb speech .*llama-avsr\[wandb\]"):
        check_installed("speech")
    check_installed(None)


def test_a_resumed_run_goes_on_under_its_id(tmp_path, monkeypatch):
    ids = []

    def init(**settings):
        ids.append(settings["id"])
        return BrokenRun(tmp_path)

    monkeypatch.setattr(wandb, "init", init)
    monkeypatch.setattr(module, "_why_offline", lambda: None)
    for resume in (False, True, False):
        log_steps(make_loggers(tmp_path, "project", None, {}, resume=resume), [0])
    assert ids == [None, "run-id", None]


def test_other_ranks_touch_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(rank_zero_only, "rank", 1)
    monkeypatch.setattr(wandb, "init", lambda **_: pytest.fail("started"))
    loggers = make_loggers(tmp_path / "run", "project", None, {})
    log_steps(loggers, range(2))
    log_samples(loggers, [sample()])
    finish(loggers, {"test/wer": 1.0})
    assert loggers[1].experiment is None
    assert not (tmp_path / "run").exists()


@pytest.fixture
def server():
    """A function that starts a server giving (status, body), and returns its address."""
    started = []

    def start(status, body):
        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                self.rfile.read(int(self.headers["Content-Length"]))
                self.send_response(status)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_args):
                pass

        started.append(HTTPServer(("127.0.0.1", 0), Handler))
        threading.Thread(target=started[-1].serve_forever, args=(0.02,), daemon=True).start()
        return f"http://127.0.0.1:{started[-1].server_port}"

    yield start
    for one in started:
        one.shutdown()
        one.server_close()


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (200, b'{"data": {"viewer": {"id": "me"}}}', None),
        (200, b'{"data": {"viewer": null}}', "does not know the API key"),
        (200, b"not json", "could not be reached"),
        (503, b"", "answers 503"),
    ],
)
def test_asking_the_server(server, status, body, expected):
    url = server(status, body)
    found = module._ask_server(url, "key")
    assert found == expected if expected is None else expected in found


def test_a_dead_or_silent_server_is_given_up(monkeypatch):
    monkeypatch.setattr(module, "PROBE_SECONDS", 0.3)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        port = silent.getsockname()[1]
        assert "could not be reached" in module._ask_server(f"http://127.0.0.1:{port}", "key")
    assert "could not be reached" in module._ask_server(f"http://127.0.0.1:{port}", "key")


def test_wav(tmp_path):
    waveform = np.array([0.0, 0.5, -0.5, 2.0, -2.0], dtype=np.float32)
    with wave.open(write_wav(tmp_path / "a.wav", waveform)) as file:
        assert (file.getframerate(), file.getnchannels()) == (16000, 1)
        samples = np.frombuffer(file.readframes(5), dtype="<i2")
    assert samples.tolist() == [0, 16384, -16384, 32767, -32768]


@pytest.mark.parametrize("size", [(88, 88), (87, 95)])
def test_mp4(tmp_path, size):
    frames = np.linspace(30, 220, 20).astype(np.uint8)[:, None, None] * np.ones((1, *size), np.uint8)
    with av.open(write_mp4(tmp_path / "a.mp4", frames)) as container:
        stream = container.streams.video[0]
        assert stream.average_rate == 25
        assert stream.codec_context.pix_fmt == "yuv420p"
        decoded = np.stack([frame.to_ndarray(format="gray") for frame in container.decode(stream)])
    assert decoded.shape[0] == 20
    shown = decoded[:, : size[0], : size[1]].astype(int)
    assert np.abs(shown - frames).max() <= 4


def test_mp4_refuses_colour(tmp_path):
    with pytest.raises(ValueError, match=r"\[T, H, W\] of uint8"):
        write_mp4(tmp_path / "a.mp4", np.zeros((3, 8, 8, 3), np.uint8))


def test_a_run_that_goes_on_with_a_validation_keeps_the_step_before_it(tmp_path):
    (first,) = make_loggers(tmp_path, None, None, {})
    for step in range(3):
        first.log_metrics({"train/loss": 1.0 + step}, step)
    first.log_metrics({"val/loss": 9.0}, 2)
    first.save()
    (second,) = make_loggers(tmp_path, None, None, {}, resume=True)
    second.log_metrics({"val/loss": 5.0}, 2)
    second.save()
    rows = list(csv.DictReader((tmp_path / "metrics.csv").open()))
    assert [row["train/loss"] for row in rows if row["train/loss"]] == ["1.0", "2.0", "3.0"]
    assert [row["val/loss"] for row in rows if row["val/loss"]] == ["5.0"]
