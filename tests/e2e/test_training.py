"""Fit, stop, resume, average, evaluate, through the entry scripts as a user calls them."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file

from llama_avsr.commands import reproduce
from tests import models
from tests.e2e import data_set
from tests.e2e.programs import run, train_flags

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return models.folders(Path(tmp_path_factory.mktemp("models")))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return data_set.make(Path(tmp_path_factory.mktemp("data")) / "set")


def losses(run_dir: Path) -> dict[int, float]:
    """Training loss of every step."""
    with (run_dir / "metrics.csv").open() as file:
        return {
            int(row["step"]): float(row["train/loss"]) for row in csv.DictReader(file) if row["train/loss"]
        }


@pytest.fixture(scope="module")
def whole(made: dict[str, str], data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished audio-visual training, with noise, dropout and masks: all that is drawn at random."""
    runs = Path(tmp_path_factory.mktemp("runs"))
    run("train_LLM.py", *random_flags(data, runs, made))
    return runs / "audiovisual"


def random_flags(data: Path, runs: Path, made: dict[str, str], **more: object) -> list[object]:
    randomness = {"noise_file": data / "noise.wav", "lora_dropout": 0.2, "modality_dropout": 0.3}
    return train_flags(
        data, runs, made, "audiovisual", **randomness, save_every_n_steps=10, num_workers=1, **more
    )


def test_what_a_run_leaves_behind(whole: Path) -> None:
    steps = max(losses(whole)) + 1
    assert steps % 3 == 0
    per_epoch = steps // 3
    kept = sorted(path.name for path in (whole / "checkpoints").iterdir())
    assert [name for name in kept if name.startswith("epoch")] == [
        f"epoch={epoch:02d}-step={(epoch + 1) * per_epoch:06d}" for epoch in range(3)
    ]
    assert sum(name.startswith("best-") for name in kept) == 1
    assert [name for name in kept if name.startswith("inside-")] == ["inside-epoch=01-step=000010"]
    for folder in (whole / "checkpoints").iterdir():
        assert sorted(path.name for path in folder.iterdir()) == [
            "config.yaml",
            "model.safetensors",
            "resume.pt",
        ]
    assert sorted(path.name for path in (whole / "average").iterdir()) == ["config.yaml", "model.safetensors"]
    assert not [path for path in whole.rglob("*") if path.name.startswith(".") or path.name.endswith(".tmp")]


def test_a_run_gives_an_account_of_itself(whole: Path) -> None:
    text = (whole / "report.md").read_text()
    assert text.startswith("# audiovisual\n\navsr from audio and video\n\n## Results\n")
    result = json.loads((whole / "results" / "average" / "test" / "summary.json").read_text())
    assert f"{result['wer']:.1f} [" in text
    assert result["peak_memory_gib"] > 0
    assert result["device_seconds"] == result["decode_seconds"]
    assert "| wall time |" in text
    assert "in 1 session, validation included" in text
    assert "13 clips of `train.csv`" in text
    assert f"3 epochs, {max(losses(whole)) + 1} optimiser steps; the mean of the last 2 checkpoints" in text
    assert "| commit |" in text or "| llama-avsr |" in text
    assert (whole / "report.png").read_bytes().startswith(b"\x89PNG")


def test_checkpoints_hold_what_was_trained_and_nothing_else(whole: Path) -> None:
    state = load_file(whole / "average" / "model.safetensors")
    assert all("lora_" in key or key.startswith(("projectors.", "added_tokens.")) for key in state)
    assert {value.dtype for value in state.values()} == {torch.float32}
    config = yaml.safe_load((whole / "average" / "config.yaml").read_text())
    assert config["options"]["goal"]["modality"] == "audiovisual"
    assert set(config["versions"]) >= {"torch", "transformers", "peft"}


def test_the_average_is_the_mean_of_the_last_two(whole: Path) -> None:
    *_, first, second = sorted((whole / "checkpoints").glob("epoch=*"))
    states = [load_file(folder / "model.safetensors") for folder in (first, second)]
    for key, value in load_file(whole / "average" / "model.safetensors").items():
        torch.testing.assert_close(value, (states[0][key] + states[1][key]) / 2)
    assert any(not torch.equal(states[0][key], states[1][key]) for key in states[0])


def test_resume_inside_an_epoch_equals_uninterrupted(
    whole: Path, made: dict[str, str], data: Path, tmp_path: Path
) -> None:
    copied = tmp_path / "audiovisual" / "checkpoints" / "inside-epoch=01-step=000010"
    shutil.copytree(whole / "checkpoints" / copied.name, copied)
    shutil.copy(whole / "sessions.json", tmp_path / "audiovisual")
    flags = random_flags(data, tmp_path, made, ckpt_path="last", auto_test=False, price_per_hour=2)
    run("train_LLM.py", *flags)
    first, second = json.loads((tmp_path / "audiovisual" / "sessions.json").read_text())
    assert (first["first_step"], second["first_step"]) == (0, 10)
    assert second["last_step"] == first["last_step"]
    account = (tmp_path / "audiovisual" / "report.md").read_text()
    assert "in 2 sessions" in account
    assert "Not evaluated (--no-auto-test)." in account
    assert "| cost |" in account
    expected, found = losses(whole), losses(tmp_path / "audiovisual")
    assert sorted(found) == sorted(step for step in expected if step >= 10)
    assert len(found) > 5
    assert found == {step: expected[step] for step in found}
    resumed = load_file(tmp_path / "audiovisual" / "average" / "model.safetensors")
    for key, value in load_file(whole / "average" / "model.safetensors").items():
        assert torch.equal(resumed[key], value), key


def evaluate(model: Path, data: Path, output: Path, *flags: object) -> str:
    """What eval_LLM.py prints."""
    quick = ("--num-workers", 0, "--max-dec-tokens", 6, "--num-beams", 3)
    where = ("--pretrained-model-path", model, "--root-dir", data, "--output-dir", output)
    return run("eval_LLM.py", *where, *quick, *flags).stdout


def test_evaluation_needs_no_model_flag_and_repeats_the_result(
    whole: Path, data: Path, tmp_path: Path
) -> None:
    assert "WER" in evaluate(whole, data, tmp_path, "--test-file", "test.csv", "--nbest", 3)
    first = whole / "results" / "average" / "test"
    assert (tmp_path / "test" / "hypotheses.csv").read_text() == (first / "hypotheses.csv").read_text()
    old, new = (json.loads((folder / "summary.json").read_text()) for folder in (first, tmp_path / "test"))
    assert new["wer"] == old["wer"]
    assert new["num_clips"] == 5
    nbest = [json.loads(line) for line in (tmp_path / "test" / "nbest.jsonl").read_text().splitlines()]
    assert [len(clip["hypotheses"]) for clip in nbest] == [3] * 5


def test_a_result_is_reproduced_from_what_it_says_of_itself(whole: Path, data: Path, tmp_path: Path) -> None:
    noise = ("--noise-file", data / "noise.wav", "--decode-snr-target", 0)
    evaluate(whole, data, tmp_path, "--test-file", "test.csv", *noise)
    result = tmp_path / "test_0dB"
    assert reproduce.main([str(result)]) == 0
    origin = json.loads((result / "origin.json").read_text())
    assert origin["options"]["decoding"]["num_beams"] == 3
    assert origin == json.loads((result / "again" / "test_0dB" / "origin.json").read_text()) | {
        "options": origin["options"]
    }


def test_evaluation_on_a_grid(whole: Path, data: Path, tmp_path: Path) -> None:
    noise = ("--noise-file", data / "noise.wav", "--decode-snr-target", "clean", 0)
    evaluate(whole, data, tmp_path, "--test-file", "test.csv", "val.csv", *noise)
    results = [path.parent for path in tmp_path.glob("*/summary.json")]
    assert sorted(path.name for path in results) == ["test", "test_0dB", "val", "val_0dB"]
    assert (tmp_path / "grid.md").read_text().count("test.csv") == 1
    found = {path.name: json.loads((path / "summary.json").read_text()) for path in results}
    assert found["test"]["snr_db"] is None
    assert found["test_0dB"]["snr_db"] == 0.0
    assert {summary["num_clips"] for summary in found.values()} == {5}


def test_a_preempted_job_goes_on_by_itself(
    whole: Path, made: dict[str, str], data: Path, tmp_path: Path
) -> None:
    """SLURM starts the same command again; Lightning has left its checkpoint under this name."""
    left = tmp_path / "audiovisual" / "hpc_ckpt_1.ckpt"
    shutil.copytree(whole / "checkpoints" / "inside-epoch=01-step=000010", left)
    run("train_LLM.py", *random_flags(data, tmp_path, made, auto_test=False))
    expected, found = losses(whole), losses(tmp_path / "audiovisual")
    assert found == {step: loss for step, loss in expected.items() if step >= 10}
    assert not left.exists()


def test_gradient_checkpointing_and_bf16(made: dict[str, str], data: Path, tmp_path: Path) -> None:
    """Everything unfrozen, BatchNorm included, in 16 bits."""
    flags = train_flags(
        data, tmp_path, made, "video", unfrozen_modules="encoder\tpeft_llm", precision="bf16", max_epochs=1,
        num_average_epochs=1, gradient_checkpointing=True, accumulate_grad_batches=2,
    )  # fmt: skip
    run("train_LLM.py", *flags)
    state = load_file(tmp_path / "video" / "average" / "model.safetensors")
    assert any("running_mean" in key for key in state)
    assert {value.dtype for key, value in state.items() if not key.startswith("added")} >= {torch.float32}


def test_a_flag_that_contradicts_the_checkpoint(whole: Path, data: Path) -> None:
    done = run(
        "eval_LLM.py", "--pretrained-model-path", whole, "--root-dir", data, "--lora-rank", 8, ok=False
    )
    assert done.returncode == 2
    assert "--lora-rank 8 contradicts the checkpoint, trained with 4" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_old_run_is_not_overwritten(whole: Path, made: dict[str, str], data: Path) -> None:
    done = run("train_LLM.py", *random_flags(data, whole.parent, made), ok=False)
    assert done.returncode == 2
    assert "holds the checkpoints of an earlier training; resume it with --ckpt-path last" in done.stderr


@pytest.mark.parametrize("modality", ["video", "audiovisual_avhubert"])
def test_other_modalities_train_and_evaluate(
    modality: str, made: dict[str, str], data: Path, tmp_path: Path
) -> None:
    flags = train_flags(
        data, tmp_path, made, modality, max_epochs=1, num_average_epochs=1, use_lora_avhubert=True
    )
    done = run("train_LLM.py", *flags)
    assert "WER" in done.stdout
    state = load_file(tmp_path / modality / "average" / "model.safetensors")
    assert any(key.startswith("encoders.") and "lora_" in key for key in state)


def test_epochs_of_alignment_come_before_the_llm(made: dict[str, str], data: Path, tmp_path: Path) -> None:
    aligns = {"ctc_weight": 0.3, "ctc_epochs": 2, "max_epochs": 4, "auto_test": False}
    cached = {"feature_cache": tmp_path / "cache", "augmentation_draws": 1, "noise_file": data / "noise.wav"}
    run("train_LLM.py", *train_flags(data, tmp_path, made, "audiovisual", **aligns, **cached))
    folder = tmp_path / "audiovisual"
    with (folder / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    told = {int(row["epoch"]): bool(row["val/loss"]) for row in rows if row["val/ctc_loss"]}
    assert told == {0: False, 1: False, 2: True, 3: True}
    (best,) = (folder / "checkpoints").glob("best-*")
    assert int(best.name.split("=")[1][:2]) >= 2
    frames = [path.stat().st_mtime_ns for path in (tmp_path / "cache").rglob("*.safetensors")]
    assert len(frames) == 2 * (13 + 5)
    # Again, with all frames there: the same curve, and none is written.
    shutil.rmtree(folder)
    run("train_LLM.py", *train_flags(data, tmp_path, made, "audiovisual", **aligns, **cached))
    assert [path.stat().st_mtime_ns for path in (tmp_path / "cache").rglob("*.safetensors")] == frames
    with (folder / "metrics.csv").open() as file:
        again = list(csv.DictReader(file))
    assert [row["val/ctc_loss"] for row in again] == [row["val/ctc_loss"] for row in rows]


def test_two_processes_equal_one_with_the_whole_batch(made: dict[str, str], tmp_path: Path) -> None:
    data = data_set.make(tmp_path / "few", num_train=4, num_test=5, video=False)
    for processes in (1, 2):
        flags = train_flags(
            data, tmp_path, made, max_frames_audio=200, gpus=processes, exp_name=f"by{processes}", lr=0.01,
            noise_file=f"{data / 'noise.wav'}\tspeaker\tpink",
        )  # fmt: skip
        run("train_LLM.py", *flags)
    (session,) = json.loads((tmp_path / "by2" / "sessions.json").read_text())
    assert session["num_devices"] == 1  # a machine, not its processes
    one, two = losses(tmp_path / "by1"), losses(tmp_path / "by2")
    assert sorted(one) == [0, 1, 2]
    assert two == pytest.approx(one, rel=1e-5)
    assert one[2] < one[0]
    found = [
        (tmp_path / name / "results" / "average" / "test" / "hypotheses.csv").read_text()
        for name in ("by1", "by2")
    ]
    assert found[0] == found[1]
    assert len(found[0].splitlines()) == 1 + 5
