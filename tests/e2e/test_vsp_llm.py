"""VSP-LLM's job through the programs: units, two tasks in one training, phases, scores by direction."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests import models
from tests.e2e import data_set
from tests.e2e.programs import run, train_flags

pytestmark = pytest.mark.slow

UNFREEZE_STEP = 4
FLAGS = {
    "task": "translation",
    "train_file": "train.tsv",
    "val_file": "val.tsv",
    "test_file": "test.tsv",
    "compression_mode": "units",
    "projector_type": "linear",
    "lr": 0.01,
    "lr_schedule": "tri-stage",
    "warmup_steps": 2,
    "encoder_unfreeze_step": UNFREEZE_STEP,
    "loss_reduction": "utterance",
    "label_smoothing": 0.1,
    "max_clips": 2,
    "accumulate_grad_batches": 2,
    "video_augmentation": "flip",
    "lora_targets": "q_proj\tk_proj\tv_proj",
    "lora_dropout": 0.1,
    "encoder_layer_drop": 0.2,
    "gradient_clip": 0,
    "weight_decay": 0,
}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return models.folders(Path(tmp_path_factory.mktemp("models")))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = data_set.make(Path(tmp_path_factory.mktemp("data")) / "set")
    data_set.make_manifests(root)
    return root


def flags(data: Path, runs: Path, made: dict[str, str], **more: object) -> list[object]:
    all_flags = train_flags(data, runs, made, "video", **(FLAGS | more))
    idle = {"--intermediate-size", "--whisper-padding", "--prompt-audio", "--audio-encoder-name"}
    idle |= {"--max-frames-audio", "--max-frames-audiovisual", "--pretrain-avhubert-enc-audiovisual-path"}
    return [
        word
        for flag, word in zip([None, *all_flags], all_flags, strict=False)
        if word not in idle and flag not in idle
    ]


@pytest.fixture(scope="module")
def whole(made: dict[str, str], data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    runs = Path(tmp_path_factory.mktemp("runs"))
    run("train_LLM.py", *flags(data, runs, made, save_every_n_steps=3))
    return runs / "video"


def test_the_encoder_is_trained_from_its_step_on(whole: Path) -> None:
    """Every checkpoint holds the encoder; until that step it is the pretrained one."""
    states = {
        int(folder.name.split("step=")[1]): load_file(folder / "model.safetensors")
        for folder in (whole / "checkpoints").glob("*step=*")
    }
    assert min(states) <= UNFREEZE_STEP < max(states)
    key = "encoders.video.encoder.encoder.layers.0.fc1.weight"
    statistics = "encoders.video.encoder.feature_extractor_video.resnet.frontend3D.1.running_mean"
    first = states[min(states)]
    for step, state in states.items():
        assert torch.equal(state[key], first[key]) == (step <= UNFREEZE_STEP)
        assert torch.equal(state[statistics], first[statistics]) == (step <= UNFREEZE_STEP)


def test_resume_before_the_encoder_wakes_equals_uninterrupted(
    whole: Path, made: dict[str, str], data: Path, tmp_path: Path
) -> None:
    folder = min((whole / "checkpoints").glob("*step=*"), key=lambda path: path.name.split("step=")[1])
    assert int(folder.name.split("step=")[1]) <= UNFREEZE_STEP
    run("train_LLM.py", *flags(data, tmp_path, made, ckpt_path=folder, auto_test=False))
    resumed = load_file(tmp_path / "video" / "average" / "model.safetensors")
    for key, value in load_file(whole / "average" / "model.safetensors").items():
        assert torch.equal(resumed[key], value), key


def evaluate(model: Path, data: Path, output: Path, *more: object) -> tuple[dict, list[dict[str, str]]]:
    """summary.json and the rows of hypotheses.csv."""
    where = ("--pretrained-model-path", model, "--root-dir", data, "--output-dir", output)
    test = ("--test-file", "test.tsv", "--num-workers", 0, "--max-dec-tokens", 6, "--num-beams", 3)
    run("eval_LLM.py", *where, *test, *more)
    (folder,) = output.iterdir()
    with (folder / "hypotheses.csv").open() as file:
        return json.loads((folder / "summary.json").read_text()), list(csv.DictReader(file))


def test_each_direction_has_its_score(whole: Path, data: Path, tmp_path: Path) -> None:
    summary, rows = evaluate(whole, data, tmp_path / "mixed")
    assert set(summary["by_direction"]) == {"en", "en-es"}
    assert summary["by_direction"]["en"]["metric"] == "wer"
    assert summary["by_direction"]["en-es"]["metric"] == "bleu"
    assert [row["direction"] for row in rows] == ["en", "en-es", "en", "en-es", "en"]
    counts = (data / "labels" / "test.cluster_counts").read_text().split("\n")[:-1]
    frames = sum(int(count) for line in counts for count in line.split())
    assert summary["tokens_per_frame"] == pytest.approx(sum(len(c.split()) for c in counts) / frames)


def test_one_direction_is_chosen(whole: Path, data: Path, tmp_path: Path) -> None:
    summary, rows = evaluate(whole, data, tmp_path / "es", "--lang", "en-es")
    assert (summary["metric"], len(rows)) == ("bleu", 2)
    english, rows = evaluate(whole, data, tmp_path / "en", "--lang", "en")
    assert (english["metric"], len(rows)) == ("wer", 3)
    failed = run(
        *("eval_LLM.py", "--pretrained-model-path", whole, "--root-dir", data),
        *("--test-file", "test.tsv", "--lang", "en-it"),
        ok=False,
    )
    assert failed.returncode == 2
    assert "--lang en-it" in failed.stderr
    assert "found en (3 clips), en-es (2 clips)" in failed.stderr


def test_clip_by_clip_gives_the_same_hypotheses(whole: Path, data: Path, tmp_path: Path) -> None:
    _, together = evaluate(whole, data, tmp_path / "together", "--test-max-clips", 5)
    _, alone = evaluate(whole, data, tmp_path / "alone", "--test-max-clips", 1)
    assert [row["hypothesis"] for row in together] == [row["hypothesis"] for row in alone]
    assert any(row["hypothesis"] for row in alone)


def test_units_on_the_fly_are_those_of_the_pipeline(
    whole: Path, made: dict[str, str], data: Path, tmp_path: Path
) -> None:
    """A model that finds units itself writes what it writes with the counts of `prepare_data.py units`."""
    features, centroids = tmp_path / "features", tmp_path / "centroids.npz"
    units = ("prepare_data.py", "units")
    where = ("--root-dir", data, "--label-file", "test.csv", "--encoder", made["av_hubert"], "--layer", 1)
    run(*units, "extract", *where, "--out-dir", features)
    run(
        *(*units, "fit", "--features-dir", features, "--split", "test", "--num-clusters", 4),
        *("--percent", 1, "--out", centroids),
    )
    run(
        *(*units, "apply", "--features-dir", features, "--split", "test"),
        *("--centroids", centroids, "--out-dir", tmp_path),
    )
    frozen = tmp_path / "runs"
    run("train_LLM.py", *flags(data, frozen, made, encoder_unfreeze_step="none", max_epochs=1))
    found, on_the_fly = evaluate(frozen / "video", data, tmp_path / "fly", "--units-centroids", centroids)
    counts = (tmp_path / "test.cluster_counts").read_text().splitlines()
    for suffix in (".tsv", ".wrd"):
        (data / "labels" / f"units{suffix}").write_text((data / "labels" / f"test{suffix}").read_text())
    (data / "labels" / "units.cluster_counts").write_text("\n".join(counts) + "\n")
    _, from_counts = evaluate(frozen / "video", data, tmp_path / "counts", "--test-file", "units.tsv")
    assert [row["hypothesis"] for row in on_the_fly] == [row["hypothesis"] for row in from_counts]
    frames = sum(int(count) for line in counts for count in line.split())
    assert found["tokens_per_frame"] == pytest.approx(sum(len(c.split()) for c in counts) / frames)


def test_without_units_the_label_file_is_refused(whole: Path, data: Path) -> None:
    failed = run(
        *("eval_LLM.py", "--pretrained-model-path", whole, "--root-dir", data, "--test-file", "test.csv"),
        ok=False,
    )
    assert failed.returncode == 2
    assert "--units-centroids" in failed.stderr
