"""TensorBoard and MLflow: the same curves, samples and panels, and runs that outlive them."""

import logging
import sys

import numpy as np
import pytest
from pytorch_lightning.utilities.rank_zero import rank_zero_only

from llama_avsr.lightning.loggers import (
    Panel,
    Sample,
    check_installed,
    finish,
    log_panel,
    log_samples,
    make_loggers,
    to_mlflow,
)
from llama_avsr.options import Options
from llama_avsr.options.checks import problems

BOTH = ("csv", "tensorboard", "mlflow")
CONFIG = {"training": {"lr": 0.25}}


@pytest.fixture(autouse=True)
def no_server(monkeypatch):
    monkeypatch.delenv(to_mlflow.URI, raising=False)
    for name in to_mlflow.IMPATIENT:
        monkeypatch.setenv(name, "1")


def samples():
    sound, mouth = np.zeros(16000, np.float32), np.full((20, 88, 88), 7, np.uint8)
    shared = {"id": "demo/a", "reference": "a b", "hypothesis": "a | c"}
    return [
        Sample(**shared, scores={"WER (%)": 50.0}, audio=sound, video=mouth),
        Sample(**shared, scores={"sentence BLEU": 12.5}),
    ]


def panel(folder):
    from PIL import Image

    Image.new("RGB", (30, 20), "red").save(folder / "grid.png")
    return Panel(
        name="grid",
        header=("noise", "snr_db", "value"),
        rows=[("white", 0, 30.0)],
        markdown="| white | 30.0 |",
        lines={"white": {0: 30.0}},
        picture=folder / "grid.png",
    )


def record(folder, steps, resume=False, kinds=BOTH):
    loggers = make_loggers(folder, None, "first", CONFIG, resume=resume, kinds=kinds)
    for step in steps:
        for logger in loggers:
            logger.log_metrics({"train/loss": float(step), "epoch": 0}, step)
            logger.save()
    return loggers


def board(folder):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = EventAccumulator(str(folder / "tensorboard"), size_guidance={"scalars": 0})
    found.Reload()
    return found


def client(folder):
    from mlflow import MlflowClient

    return MlflowClient(f"sqlite:///{folder / 'mlflow.db'}")


def run_of(folder):
    return client(folder).get_run((folder / "mlflow_run_id.txt").read_text().strip())


def test_curves_samples_and_panels(tmp_path):
    loggers = record(tmp_path, range(3))
    log_samples(loggers, samples(), step=2)
    log_panel(loggers, panel(tmp_path))
    finish(loggers, {"test/wer": 12.5, "test/model": "m"})

    shown = board(tmp_path)
    assert [(point.step, point.value) for point in shown.Scalars("train/loss")] == [(0, 0), (1, 1), (2, 2)]
    assert {"samples/0/mouth", "grid"} <= set(shown.Tags()["images"])
    assert shown.Tags()["audio"] == ["samples/0/sound"]
    texts = {
        tag: shown.Tensors(tag)[0].tensor_proto.string_val[0].decode() for tag in shown.Tags()["tensors"]
    }
    assert "| demo/a | a b | a \\| c | 50 |  |" in texts["samples/text_summary"]
    assert "| white | 30.0 |" in texts["grid/text_summary"]
    assert "| test/wer | 12.5 |" in texts["summary/text_summary"]
    assert "lr: 0.25" in (tmp_path / "tensorboard" / "hparams.yaml").read_text()

    run = run_of(tmp_path)
    assert run.info.status == "FINISHED"
    assert run.info.run_name == "first"
    assert run.data.metrics["test/wer"] == 12.5
    assert run.data.params["training/lr"] == "0.25"
    history = client(tmp_path).get_metric_history(run.info.run_id, "train/loss")
    assert [(point.step, point.value) for point in history] == [(0, 0), (1, 1), (2, 2)]
    files = {path.relative_to(tmp_path / "mlflow").name for path in (tmp_path / "mlflow").rglob("*.*")}
    assert files == {"0.wav", "0.mp4", "samples.md", "grid.md", "grid.png"}


def test_a_resumed_run_goes_on_in_both(tmp_path):
    finish(record(tmp_path, range(6)))
    first = run_of(tmp_path).info.run_id
    finish(record(tmp_path, range(4, 8), resume=True))
    points = [(point.step, point.value) for point in board(tmp_path).Scalars("train/loss")]
    assert points == [(step, step) for step in range(8)]
    assert run_of(tmp_path).info.run_id == first
    history = client(tmp_path).get_metric_history(first, "train/loss")
    assert {point.step for point in history} == set(range(8))
    finish(record(tmp_path, [0]))
    assert run_of(tmp_path).info.run_id != first


def test_other_ranks_and_other_kinds_write_nothing(tmp_path, monkeypatch):
    assert len(record(tmp_path / "csv", [0], kinds=("csv",))) == 1
    assert {path.name for path in (tmp_path / "csv").iterdir()} == {"metrics.csv"}
    monkeypatch.setattr(rank_zero_only, "rank", 1)
    loggers = record(tmp_path / "run", range(2))
    log_panel(loggers, panel(tmp_path))
    finish(loggers, {"test/wer": 1.0})
    assert not (tmp_path / "run").exists()


def test_a_server_that_is_not_there_is_not_waited_for(tmp_path, monkeypatch, caplog):
    monkeypatch.setenv(to_mlflow.URI, "http://127.0.0.1:9")
    finish(record(tmp_path, range(2), kinds=("mlflow",)))
    assert "http://127.0.0.1:9 could not be reached" in caplog.text
    assert run_of(tmp_path).data.metrics["train/loss"] == 1.0


def test_a_run_outlives_a_logger_that_breaks(tmp_path, monkeypatch, caplog):
    loggers = record(tmp_path, [0], kinds=("tensorboard", "mlflow"))

    def broken(*_, **__):
        raise RuntimeError("broken")

    for logger in loggers[1:]:
        monkeypatch.setattr(logger._inner, "log_metrics", broken)
    with caplog.at_level(logging.WARNING):
        for step in range(1, 6):
            for logger in loggers:
                logger.log_metrics({"train/loss": 1.0}, step)
                logger.save()
    assert caplog.text.count("the metrics could not be recorded (RuntimeError: broken)") == 2
    assert caplog.text.count("MLflow: given up after 3 failures in a row") == 1
    assert "TensorBoard: given up" not in caplog.text
    finish(loggers, {"test/wer": 1.0})
    assert len((tmp_path / "metrics.csv").read_text().splitlines()) == 1 + 6


@pytest.mark.parametrize("name", ["tensorboard", "mlflow"])
def test_what_is_not_installed_is_said_before_the_run(name, monkeypatch, tmp_path, caplog):
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ValueError, match=rf"--logger {name} needs {name}, .*llama-avsr\[{name}\]"):
        check_installed(None, ("csv", name))
    check_installed(None, ("csv",))


def test_the_option(tmp_path):
    def loggers(**values):
        return Options().updated(values).run.loggers

    assert loggers() == ("csv",)
    assert loggers(project_wandb="p") == ("csv", "wandb")
    assert loggers(logger="csv", project_wandb="p") == ("csv",)
    assert loggers(logger=("tensorboard", "mlflow"), project_wandb="p") == ("csv", "tensorboard", "mlflow")
    assert loggers(logger=("auto", "tensorboard"), project_wandb="p") == ("csv", "tensorboard", "wandb")
    assert loggers(logger="none", project_wandb="p") == ()
    model = {"modality": "audio", "audio_encoder_name": "w", "llm_model": "l", "logger": ("none", "csv")}
    assert problems(Options().updated(model), "train") == [
        "--logger none csv: none is nothing beside others: keep one"
    ]
