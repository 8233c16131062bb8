import logging
import math

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import TQDMProgressBar
from torch.optim.lr_scheduler import LambdaLR

from llama_avsr.evaluation.plots import read_series
from llama_avsr.lightning.loggers import make_loggers
from llama_avsr.lightning.progress import (
    BatchMeter,
    FitClock,
    LogProgress,
    TerminalProgress,
    TrainingMonitor,
    format_duration,
    progress_bar,
    total_batches,
)


class Clock:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


class Model(pl.LightningModule):
    """Takes a second of `clock` for each batch, ten for each validation batch."""

    def __init__(self, clock=None, stats=True):
        super().__init__()
        self.layer = torch.nn.Linear(2, 1)
        self.clock = clock or Clock()
        self.stats = stats

    def training_step(self, batch, _):
        self.clock.now += 1
        loss = self.layer(batch[0]).pow(2).mean()
        self.log("train/loss", loss, prog_bar=True)
        if self.stats:
            self.last_batch_stats = {"clips": 2, "target_tokens": 10, "llm_tokens": 70, "padded_share": 0.25}
        return loss

    def validation_step(self, batch, _):
        self.clock.now += 10
        self.log("val/loss", self.layer(batch[0]).mean(), prog_bar=True)

    def test_step(self, batch, batch_idx):
        self.clock.now += 10

    def configure_optimizers(self):
        optimiser = torch.optim.SGD(self.parameters(), 0.1)
        schedule = LambdaLR(optimiser, lambda step: 1 / (step + 1))
        return {"optimizer": optimiser, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def messages(caplog):
    return [
        record.getMessage() for record in caplog.records if record.name == "llama_avsr.lightning.progress"
    ]


def data(num_clips=40):
    return torch.utils.data.DataLoader(torch.utils.data.TensorDataset(torch.ones(num_clips, 2)), batch_size=2)


def trainer(*callbacks, **options):
    defaults = {
        "accelerator": "cpu",
        "logger": False,
        "max_epochs": 2,
        "enable_checkpointing": False,
        "enable_model_summary": False,
        "callbacks": list(callbacks),
    }
    return pl.Trainer(**{**defaults, **options})


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr("llama_avsr.lightning.progress.time.monotonic", clock)
    monkeypatch.setattr(BatchMeter.__init__, "__defaults__", (clock,))
    monkeypatch.setattr(FitClock.__init__, "__defaults__", (clock,))
    return clock


def test_meter():
    clock = Clock()
    meter = BatchMeter(clock)
    for _ in range(4):
        meter.add({"clips": 3, "llm_tokens": 50, "padded_share": 0.2})
    clock.now += 2
    assert meter.take() == pytest.approx(
        {"clips_per_second": 6, "tokens_per_second": 100, "padded_share": 0.2}
    )
    assert meter.take() == {}


def test_fit_clock_counts_only_this_process():
    clock = Clock()
    fit = FitClock(clock)
    assert fit.remaining_seconds(5, 10) is None
    fit.start(done=50)
    assert fit.remaining_seconds(50, 100) is None
    clock.now += 20
    assert fit.remaining_seconds(60, 100) == pytest.approx(80)
    assert fit.remaining_seconds(60, None) is None
    assert fit.remaining_seconds(100, 90) == 0


@pytest.mark.parametrize(
    ("seconds", "text"), [(None, "?"), (0.4, "0:00:00"), (3723, "1:02:03"), (90061, "1d 1:01:01")]
)
def test_durations(seconds, text):
    assert format_duration(seconds) == text


def test_lines_in_a_log(clock, caplog):
    model = Model(clock)
    bar = LogProgress(interval_seconds=6, clock=clock)
    with caplog.at_level(logging.INFO, logger="llama_avsr.lightning.progress"):
        trainer(bar, limit_val_batches=2).fit(model, data(), data())
    lines = messages(caplog)
    training = [line for line in lines if line.startswith("Epoch")]
    # 20 batches an epoch, a second each: after 6, 12, 18 of them and at the end.
    assert [line.split(" | ")[:2] for line in training[:4]] == [
        ["Epoch 1/2", "batch 6/20"],
        ["Epoch 1/2", "batch 12/20"],
        ["Epoch 1/2", "batch 18/20"],
        ["Epoch 1/2", "batch 20/20"],
    ]
    assert len(training) == 8
    assert "tokens/s 70" in training[0]
    assert training[0].endswith("ETA 0:00:34")
    assert "train/loss" in training[0]
    assert "lr 0.0143" in training[0]
    # Validation took 20 of the 40 seconds that an epoch takes, and counts.
    assert training[3].endswith("ETA 0:00:40")
    assert "tokens/s 70" in training[-1]
    assert training[-1].endswith("ETA 0:00:00")
    validated = [line for line in lines if line.startswith("Validated")]
    assert len(validated) == 2
    assert validated[0].startswith("Validated in 0:00:20 | val/loss")


def test_a_short_training_writes_little(clock, caplog):
    with caplog.at_level(logging.INFO, logger="llama_avsr.lightning.progress"):
        trainer(LogProgress(clock=clock), max_epochs=1, limit_val_batches=0).fit(Model(clock), data())
    assert len(messages(caplog)) == 1


def test_lines_of_a_test(clock, caplog):
    with caplog.at_level(logging.INFO, logger="llama_avsr.lightning.progress"):
        trainer(LogProgress(30, clock)).test(Model(clock), data(), verbose=False)
    lines = messages(caplog)
    assert len(lines) == 6
    assert lines[0] == "Testing | batch 3/20 | ETA 0:02:50"


def test_other_ranks_are_silent(clock, caplog):
    bar = LogProgress(0, clock)
    bar.disable()
    with caplog.at_level(logging.INFO, logger="llama_avsr.lightning.progress"):
        trainer(bar, max_epochs=1).fit(Model(clock), data())
    assert not messages(caplog)


def test_bar_in_a_terminal(capsys):
    trainer(TerminalProgress(), limit_val_batches=1).fit(Model(), data(), data())
    shown = capsys.readouterr().out
    assert "Epoch 1/2" in shown
    last = shown.replace("\n", "\r").rstrip("\r").split("\r")[-1]
    assert "Epoch 2/2: 100%" in last
    assert "20/20" in last
    for item in ("train/loss=", "val/loss=", "lr=", "tokens/s=", "ETA=0:00:00"):
        assert item in last
    assert "v_num" not in shown


def test_kind_of_bar():
    assert isinstance(progress_bar(terminal=True), TQDMProgressBar)
    assert isinstance(progress_bar(terminal=False), LogProgress)
    # Captured output is no terminal.
    assert isinstance(progress_bar(), LogProgress)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"max_epochs": 3}, 60),
        ({"max_epochs": 3, "limit_train_batches": 5}, 15),
        ({"max_epochs": -1, "max_steps": 7, "accumulate_grad_batches": 2}, 14),
        ({"max_epochs": 3, "max_steps": 7}, 7),
    ],
)
def test_total_batches_is_what_is_trained(options, expected):
    run = trainer(enable_progress_bar=False, limit_val_batches=0, **options)
    run.fit(Model(), data())
    assert total_batches(run) == expected == run.fit_loop.epoch_loop.batch_progress.total.ready


def test_monitor_logs_with_the_loss(tmp_path, clock):
    loggers = make_loggers(tmp_path, None, None, {})
    run = trainer(
        TrainingMonitor(), logger=loggers, log_every_n_steps=5, enable_progress_bar=False, limit_val_batches=1
    )
    run.fit(Model(clock), data(), data())
    names = ["tokens_per_second", "target_tokens_per_second", "clips_per_second", "padded_share", "lr"]
    series = read_series(tmp_path / "metrics.csv", [*names, "memory_gib", "train/loss"])
    expected_steps = [4, 9, 14, 19, 24, 29, 34, 39]
    for steps, _ in series.values():
        assert steps.tolist() == expected_steps
    # The ten seconds of validation between the epochs do not count.
    for name, value in zip(names, [70, 10, 2, 0.25], strict=False):
        assert series[name][1] == pytest.approx([value] * 8)
    assert series["lr"][1] == pytest.approx([0.1 / (step + 1) for step in expected_steps])
    assert all(0.01 < value < 100 for value in series["memory_gib"][1])


def test_monitor_counts_accumulated_batches(tmp_path, clock):
    loggers = make_loggers(tmp_path, None, None, {})
    run = trainer(
        TrainingMonitor(),
        logger=loggers,
        log_every_n_steps=2,
        accumulate_grad_batches=4,
        enable_progress_bar=False,
        limit_val_batches=0,
    )
    run.fit(Model(clock), data())
    steps, values = read_series(tmp_path / "metrics.csv", ["tokens_per_second"])["tokens_per_second"]
    assert steps.tolist() == [1, 3, 5, 7, 9]
    assert values == pytest.approx([70] * 5)


def test_a_module_without_stats(tmp_path, clock):
    loggers = make_loggers(tmp_path, None, None, {})
    run = trainer(TrainingMonitor(), LogProgress(1, clock), logger=loggers, log_every_n_steps=1, max_epochs=1)
    run.fit(Model(clock, stats=False), data())
    assert read_series(tmp_path / "metrics.csv", ["lr"])["lr"][1].size == 20
    assert not math.isnan(run.callback_metrics["memory_gib"])
