"""One model for three tasks at two rates a medium: fit, stop, resume, evaluate, as a user calls it."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import pytest
from safetensors.torch import load_file

from tests import models
from tests.e2e import data_set
from tests.e2e.programs import run, train_flags

pytestmark = pytest.mark.slow
VIEWS = ("asr_4", "asr_16", "vsr_2", "vsr_5", "avsr_4_2", "avsr_4_5", "avsr_16_2", "avsr_16_5")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return models.folders(Path(tmp_path_factory.mktemp("models")))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return data_set.make(Path(tmp_path_factory.mktemp("data")) / "set")


def flags(data: Path, runs: Path, made: dict[str, str], **more: object) -> list[object]:
    elastic = {
        "tasks": "asr\tvsr\tavsr",
        "task_weights": "1\t1.5\t1",
        "compression_mode": "avg-pooling",
        "downsample_ratios_audio": "4\t16",
        "downsample_ratios_video": "2\t5",
        "lora_sharing": "both",
        "use_lora_avhubert": True,
    }
    return train_flags(data, runs, made, "audiovisual", **{**elastic, **more})


def curve(run_dir: Path, column: str = "train/loss") -> dict[int, float]:
    with (run_dir / "metrics.csv").open() as file:
        return {int(row["step"]): float(row[column]) for row in csv.DictReader(file) if row[column]}


@pytest.fixture(scope="module")
def whole(made: dict[str, str], data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    runs = Path(tmp_path_factory.mktemp("runs"))
    random = {"noise_file": data / "noise.wav", "lora_dropout": 0.2, "modality_dropout": 0.3}
    done = run("train_LLM.py", *flags(data, runs, made, save_every_n_steps=10, num_workers=1, **random))
    assert "| avsr_16_5 |" in done.stdout
    return runs / "audiovisual"


def test_losses_by_task_and_rate(whole: Path) -> None:
    steps = curve(whole)
    tasks = [curve(whole, f"train/{task}/loss") for task in ("asr", "vsr", "avsr")]
    assert len(steps) > 10
    for step, loss in steps.items():
        asr, vsr, avsr = (of_task[step] for of_task in tasks)
        assert loss == pytest.approx((asr + 1.5 * vsr + avsr) / 3, rel=1e-5)
    validated = {view: list(curve(whole, f"val/{view}/loss").values()) for view in VIEWS}
    assert {len(values) for values in validated.values()} == {3}
    by_task = {
        task: [view for view in VIEWS if view.startswith(f"{task}_")] for task in ("asr", "vsr", "avsr")
    }
    for index, loss in enumerate(curve(whole, "val/loss").values()):
        means = {t: sum(validated[v][index] for v in views) / len(views) for t, views in by_task.items()}
        assert loss == pytest.approx((means["asr"] + 1.5 * means["vsr"] + means["avsr"]) / 3, rel=1e-5)


def test_checkpoints_hold_every_projector_and_adapter(whole: Path) -> None:
    state = load_file(whole / "average" / "model.safetensors")
    projectors = {key.split(".")[1] for key in state if key.startswith("projectors.")}
    assert projectors == {"audio_4", "audio_16", "video_2", "video_5"}
    adapters = {key.split(".")[-2] for key in state if key.startswith("llm.") and "lora_" in key}
    assert adapters == {"asr", "vsr", "avsr", "default"}


def test_resume_inside_an_epoch_equals_uninterrupted(
    whole: Path, made: dict[str, str], data: Path, tmp_path: Path
) -> None:
    copied = tmp_path / "audiovisual" / "checkpoints" / "inside-epoch=01-step=000010"
    shutil.copytree(whole / "checkpoints" / copied.name, copied)
    random = {"noise_file": data / "noise.wav", "lora_dropout": 0.2, "modality_dropout": 0.3}
    more = {"save_every_n_steps": 10, "num_workers": 1, "ckpt_path": "last", "auto_test": False}
    run("train_LLM.py", *flags(data, tmp_path, made, **random, **more))
    expected, found = curve(whole), curve(tmp_path / "audiovisual")
    assert found == {step: loss for step, loss in expected.items() if step >= 10}
    assert len(found) > 5
    resumed = load_file(tmp_path / "audiovisual" / "average" / "model.safetensors")
    for key, value in load_file(whole / "average" / "model.safetensors").items():
        assert resumed[key].equal(value), key


def evaluate(model: Path, data: Path, output: Path, *more: object, ok: bool = True):
    quick = ("--num-workers", 0, "--max-dec-tokens", 6, "--num-beams", 3, "--test-file", "test.csv")
    where = ("--pretrained-model-path", model, "--root-dir", data, "--output-dir", output)
    return run("eval_LLM.py", *where, *quick, *more, ok=ok)


def test_evaluation_at_any_rate(whole: Path, data: Path, tmp_path: Path) -> None:
    done = evaluate(whole, data, tmp_path, "--tasks", "asr", "avsr", "--downsample-ratio-audio", 16)
    names = {"asr_16", "avsr_16_2", "avsr_16_5"}
    assert {path.name for path in tmp_path.iterdir()} == {f"test_{name}" for name in names} | {"views.md"}
    table = (tmp_path / "views.md").read_text()
    assert table in done.stdout
    header, _, *rows = ([cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines())
    assert header == ["view", "test set", "condition", "wer", "tokens/s", "RTF", "device s", "GiB"]
    assert {row[0] for row in rows} == names
    after_training = whole / "results" / "average"
    for name in names:
        new, old = (folder / f"test_{name}" / "hypotheses.csv" for folder in (tmp_path, after_training))
        assert new.read_text() == old.read_text()
    rates = {row[0]: float(row[4]) for row in rows}
    assert rates["asr_16"] < rates["avsr_16_5"] < rates["avsr_16_2"]
    summaries = {path.name for path in after_training.iterdir()}
    assert summaries == {f"test_{view}" for view in VIEWS} | {"views.md"}
    summary = json.loads((after_training / "test_asr_4" / "summary.json").read_text())
    assert summary["num_clips"] == 5


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (("--downsample-ratio-audio", 8), "--downsample-ratio-audio 8: the model was trained at 4, 16"),
        (("--downsample-ratios-video", 2, 3), "--downsample-ratios-video 3: the model was trained at 2, 5"),
        (("--task", "translation"), "--task translation: the model was trained for asr, vsr, avsr"),
    ],
)
def test_what_was_never_trained_is_refused(
    asked: tuple[object, ...], message: str, whole: Path, data: Path, tmp_path: Path
) -> None:
    done = evaluate(whole, data, tmp_path, *asked, ok=False)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_two_processes_equal_one_with_the_whole_batch(made: dict[str, str], tmp_path: Path) -> None:
    """Projectors that are not drawn stay, on all ranks."""
    data = data_set.make(tmp_path / "few", num_train=4, num_test=2)
    for processes in (1, 2):
        more = {"max_frames_audiovisual": 200, "gpus": processes, "exp_name": f"by{processes}", "lr": 0.01}
        run("train_LLM.py", *flags(data, tmp_path, made, auto_test=False, **more))
    one, two = curve(tmp_path / "by1"), curve(tmp_path / "by2")
    assert sorted(one) == [0, 1, 2]
    assert two == pytest.approx(one, rel=1e-4)
    states = [load_file(tmp_path / f"by{n}" / "average" / "model.safetensors") for n in (1, 2)]
    for key, value in states[0].items():
        assert (value - states[1][key]).abs().max() < 1e-3, key


def test_all_rates_of_one_task_in_every_step(made: dict[str, str], data: Path, tmp_path: Path) -> None:
    """Llama-MTSK."""
    more = {"compression_mode": "avg-pooling", "downsample_ratios_video": "2\t5", "rates_per_step": "all"}
    once = {"max_epochs": 1, "num_average_epochs": 1, "gradient_checkpointing": True}
    run("train_LLM.py", *train_flags(data, tmp_path, made, "video", **more, **once))
    state = load_file(tmp_path / "video" / "average" / "model.safetensors")
    assert {key.split(".")[1] for key in state if key.startswith("projectors.")} == {"video_2", "video_5"}
    assert curve(tmp_path / "video").keys() == curve(tmp_path / "video", "train/vsr/loss").keys()
    assert (tmp_path / "video" / "results" / "average" / "views.md").is_file()
