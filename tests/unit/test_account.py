"""A run's own account: sessions that add up, energy, and what report.md says."""

import pytest
import pytorch_lightning as pl
import torch

from llama_avsr.checkpoints.run_folder import RunFolder
from llama_avsr.lightning.hardware import Counter, Devices, EnergyMeter, cpu_name, energy_counters
from llama_avsr.model.summary import summarise
from llama_avsr.training import account, sessions
from llama_avsr.training.sessions import Session, SessionLog


class Tiny(pl.LightningModule):
    def __init__(self, fails_at=None):
        super().__init__()
        self.layer = torch.nn.Linear(2, 1)
        self.fails_at = fails_at

    def training_step(self, batch, number):
        if number == self.fails_at:
            raise KeyboardInterrupt if self.fails_at == 1 else OSError("broken")
        return self.layer(batch[0]).pow(2).mean()

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.1)


class Hand:
    """A clock that goes on by 20 s each time it is read."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        self.now += 20.0
        return self.now


def meter(_gpus):
    used = iter(range(0, 10_000, 1000))
    return EnergyMeter([Counter("processors", lambda: float(next(used)))])


def fit(folder, resumes=False, module=None, max_steps=4):
    log = SessionLog(folder, resumes, Hand(), meter)
    trainer = pl.Trainer(
        accelerator="cpu",
        logger=False,
        max_steps=max_steps,
        callbacks=[log],
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    data = torch.utils.data.TensorDataset(torch.randn(4, 2))
    trainer.fit(module or Tiny(), torch.utils.data.DataLoader(data))
    return log


def test_sessions_add_up(tmp_path):
    fit(tmp_path)
    (first,) = sessions.read(tmp_path)
    # The clock is read twice at the start, after each of four batches, when two writings are due, at the end.
    assert (first.first_step, first.last_step, first.seconds) == (0, 4, 160.0)
    assert first.joules == {"processors": 4000.0}
    assert first.num_devices == first.num_machines == 1
    assert first.program["version"]
    assert "torch" in first.versions
    fit(tmp_path, resumes=True, max_steps=2)
    assert [one.last_step for one in sessions.read(tmp_path)] == [4, 2]
    fit(tmp_path)
    assert len(sessions.read(tmp_path)) == 1


def test_a_session_that_fails_counts(tmp_path):
    with pytest.raises(OSError, match="broken"):
        fit(tmp_path, module=Tiny(fails_at=2))
    (found,) = sessions.read(tmp_path)
    assert (found.last_step, found.seconds) == (2, 100.0)


def test_other_ranks_write_nothing(tmp_path, monkeypatch):
    class Second(SessionLog):
        def on_train_start(self, trainer, pl_module):
            monkeypatch.setattr(type(trainer), "is_global_zero", False)
            super().on_train_start(trainer, pl_module)

    log = Second(tmp_path, False, Hand(), lambda _: pytest.fail("measured"))
    trainer = pl.Trainer(accelerator="cpu", logger=False, enable_checkpointing=False)
    log.on_train_start(trainer, Tiny())
    log.on_train_batch_end(trainer)
    log.on_train_end(trainer, Tiny())
    assert not list(tmp_path.iterdir())


def test_a_session_that_is_killed_is_there_from_its_start(tmp_path, monkeypatch):
    monkeypatch.setattr(SessionLog, "_end", lambda *_: None)
    monkeypatch.setattr(sessions, "WRITE_SECONDS", 1e9)
    fit(tmp_path)
    (found,) = sessions.read(tmp_path)
    assert (found.first_step, found.last_step) == (0, 0)
    (tmp_path / ".sessions.json.123.part").write_text("half")
    RunFolder(tmp_path).recover()
    assert [path.name for path in tmp_path.iterdir()] == ["sessions.json"]


def test_a_damaged_file_and_a_full_disk_do_not_end_a_training(tmp_path, caplog, monkeypatch):
    (tmp_path / sessions.FILE).write_text("[{")
    fit(tmp_path, resumes=True)
    assert "earlier sessions are not counted" in caplog.text
    assert len(sessions.read(tmp_path)) == 1

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(sessions, "write_whole", full)
    fit(tmp_path)
    assert "No space left on device; the training goes on" in caplog.text


def domain(root, folder, name, joules, most=100):
    path = root / folder
    path.mkdir(exist_ok=True)
    (path / "name").write_text(f"{name}\n")
    (path / "energy_uj").write_text(f"{joules * 1_000_000}\n")
    (path / "max_energy_range_uj").write_text(f"{most * 1_000_000}\n")


def test_energy_of_processors(tmp_path):
    domain(tmp_path, "intel-rapl:0", "package-0", 90)
    domain(tmp_path, "intel-rapl:0:0", "core", 50)
    domain(tmp_path, "intel-rapl:0:1", "dram", 10)
    domain(tmp_path, "intel-rapl:1", "psys", 10)
    domain(tmp_path, "intel-rapl-mmio:0", "package-0", 90)
    (tmp_path / "intel-rapl:2").mkdir()
    counters = energy_counters(powercap=tmp_path)
    assert len(counters) == 2
    measured = EnergyMeter(counters)
    domain(tmp_path, "intel-rapl:0", "package-0", 20)  # passed 100 and began anew
    domain(tmp_path, "intel-rapl:0:1", "dram", 15)
    measured.update()
    domain(tmp_path, "intel-rapl:0", "package-0", 21)
    measured.update()
    assert measured.joules == {"processors": pytest.approx(30 + 5 + 1)}
    (tmp_path / "intel-rapl:0" / "energy_uj").unlink()
    measured.update()
    assert measured.joules == {}
    assert energy_counters(powercap=tmp_path / "none") == []


def test_energy_of_gpus(monkeypatch):
    pynvml = pytest.importorskip("pynvml")
    shown = {"GPU-a": iter([1000, 1000, 5000]), "GPU-b": iter([0, 0, 500])}
    monkeypatch.setattr(pynvml, "nvmlInit", lambda: None)
    monkeypatch.setattr(pynvml, "nvmlDeviceGetHandleByUUID", lambda uuid: uuid)
    monkeypatch.setattr(pynvml, "nvmlDeviceGetTotalEnergyConsumption", lambda handle: next(shown[handle]))
    monkeypatch.setattr("llama_avsr.lightning.hardware._uuid", lambda gpu: f"GPU-{'ab'[gpu]}")
    measured = EnergyMeter(energy_counters([0, 1]))
    measured.update()
    assert measured.joules == {"GPUs": pytest.approx(4.5)}


def test_gpus_whose_energy_cannot_be_read(monkeypatch):
    pynvml = pytest.importorskip("pynvml")

    def missing():
        raise pynvml.NVMLError(pynvml.NVML_ERROR_LIBRARY_NOT_FOUND)

    monkeypatch.setattr(pynvml, "nvmlInit", missing)
    assert energy_counters([0]) == []


def test_names_of_processors(tmp_path):
    (tmp_path / "cpuinfo").write_text("processor\t: 0\nmodel name\t: A Processor @ 2.5GHz\n")
    assert cpu_name(tmp_path / "cpuinfo") == "A Processor @ 2.5GHz"
    assert cpu_name(tmp_path / "none")
    devices = Devices.of(pl.Trainer(accelerator="cpu", logger=False, enable_checkpointing=False))
    assert devices.count == 1


def session(**changes):
    values = {
        "started": "2026-01-02T03:04:05+00:00",
        "seconds": 1800.0,
        "first_step": 0,
        "last_step": 10,
        "device": "GPU X",
        "num_devices": 4,
        "num_machines": 1,
        "joules": {"processors": 1.8e6, "GPUs": 3.6e6},
        "program": {"version": "1", "commit": "abc", "dirty": True},
        "versions": {"torch": "2"},
    }
    return Session(**{**values, **changes})


def facts(**changes):
    model = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.Linear(3, 1))
    model[0].requires_grad_(False)
    values = {
        "name": "first",
        "task": "asr from audio",
        "model": summarise(model, {"encoder": model[0], "projector": model[1]}),
        "train_file": "train.csv",
        "num_clips": 3,
        "num_frames": 45_000,
        "epochs": 2,
        "steps": 20,
        "averaged": 1,
        "price_per_hour": 2.5,
        "results": "| WER |",
    }
    return account.Facts(**{**values, **changes})


def test_what_the_account_says(tmp_path):
    (tmp_path / "metrics.csv").write_text("step,train/loss\n1,2.0\n2,1.0\n")
    later = session(first_step=10, last_step=20, num_devices=2, program={"version": "1", "commit": "def"})
    account.write_facts(tmp_path, facts(), [session(), later])
    text = (tmp_path / "report.md").read_text()
    for said in (
        "# first\n\nasr from audio\n\n## Results\n\n| WER |\n",
        "![training and validation loss](report.png)",
        "| devices | 4 x GPU X; 2 x GPU X |",
        "| wall time | 1.00 h in 2 sessions, validation included |",
        "| device time | 3.00 h |",
        "| energy | 3 kWh (GPUs 2, processors 1) |",
        "| cost | 7.50, at 2.5 for an hour of one device |",
        "| 2026-01-02T03:04:05+00:00 | 10 to 20 | 0.50 | 2 x GPU X |",
        "| parameters | 13 |",
        "| trained | 4 (projector 4) |",
        "| training data | 0.50 h, 3 clips of `train.csv` |",
        "| training | 2 epochs, 20 optimiser steps; the mean of the last 1 checkpoint is the model |",
        "| commit | abc with changes, then def |",
        "| torch | 2 |",
    ):
        assert said in text
    assert (tmp_path / "report.png").stat().st_size < 200_000


def test_what_is_not_known_is_not_made_up(tmp_path):
    account.write_facts(tmp_path, facts(price_per_hour=None), [session(joules={}), session()])
    text = (tmp_path / "report.md").read_text()
    assert "| energy | unknown: no counter can be read" in text
    assert "cost" not in text
    assert "report.png" not in text
    assert [path.name for path in tmp_path.iterdir()] == ["report.md"]
    account.write_facts(tmp_path, facts(), [session(num_machines=2)])
    assert "(GPUs 1, processors 0.5) on the first of 2 machines" in (tmp_path / "report.md").read_text()
    account.write_facts(tmp_path, facts(), [])
    assert "| wall time | 0.00 h in 0 sessions" in (tmp_path / "report.md").read_text()
