"""An encoder of lips is trained, resumed, and taken by a recogniser, as a user would."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file

import av_hubert
from tests import models
from tests.e2e import data_set
from tests.e2e.programs import run, train_flags
from tests.e2e.test_training import losses

pytestmark = pytest.mark.slow
SIZES = ("--dim", 32, "--num-layers", 1, "--num-heads", 2, "--resnet-planes", 8, 8, 8, 8)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = data_set.make(tmp_path_factory.mktemp("data"))
    lines = ["clip,word,start_s,end_s"]
    for split in ("train", "val"):
        for line in (root / "labels" / f"{split}.csv").read_text().splitlines():
            dataset, path, _, _, text = line.split(",")
            for place, word in enumerate(text.split()):
                lines.append(
                    f"{dataset}/{path.removesuffix('.mp4')},{word},{place * 0.1},{place * 0.1 + 0.1}"
                )
    (root / "labels" / "words.csv").write_text("\n".join(lines) + "\n")
    return root


def pretrain(data: Path, runs: Path, *flags: object, **how: bool) -> str:
    where = ("--root-dir", data, "--train-file", "train.csv", "--val-file", "val.csv", "--exp-dir", runs)
    few = ("--max-frames-video", 90, "--num-workers", 0, "--max-epochs", 2, "--log-every-n-steps", 1)
    targets = ("--targets", "words", "characters", "--word-times-file", "words.csv")
    done = run("pretrain_video.py", *where, *few, *SIZES, *targets, *flags, **how)
    return done.stdout if done.returncode == 0 else done.stderr


@pytest.fixture(scope="module")
def whole(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    runs = tmp_path_factory.mktemp("runs")
    said = pretrain(data, runs, "--save-every-n-steps", 3, "--num-average-epochs", 2)
    assert "held-out errors of the average: words" in said
    assert f"encoder    {runs / 'lips' / 'av_hubert'}" in said
    return runs / "lips"


def test_the_result_is_the_average_of_the_last_checkpoints(whole: Path) -> None:
    encoder = av_hubert.load_checkpoint(whole / "av_hubert")
    assert (encoder.dim, encoder.num_layers) == (32, 1)
    average = load_file(whole / "average" / "model.safetensors")
    for name, value in encoder.named_parameters():
        torch.testing.assert_close(value, average[f"encoder.{name}"].half().float())


def test_its_curves_tell_of_each_target(whole: Path) -> None:
    header = (whole / "metrics.csv").read_text().splitlines()[0].split(",")
    assert {"train/loss", "val/loss", "val/words_error", "val/characters_error"} <= set(header)


def test_its_checkpoints_say_what_was_asked(whole: Path) -> None:
    options = yaml.safe_load((whole / "average" / "config.yaml").read_text())["options"]
    assert options["target"]["targets"] == ["words", "characters"]
    assert options["network"]["dim"] == 32
    assert "llm" not in options


def test_resuming_equals_going_on(whole: Path, data: Path, tmp_path: Path) -> None:
    inside = sorted((whole / "checkpoints").glob("inside-*"))[-1]
    shutil.copytree(inside, tmp_path / "lips" / "checkpoints" / inside.name)
    pretrain(data, tmp_path, "--ckpt-path", "last")
    expected, found = losses(whole), losses(tmp_path / "lips")
    assert found == {step: expected[step] for step in found}
    assert len(found) >= 2


def test_a_recogniser_takes_it(whole: Path, data: Path, tmp_path: Path) -> None:
    made = {**models.folders(tmp_path / "models"), "av_hubert": str(whole / "av_hubert")}
    flags = train_flags(data, tmp_path / "runs", made, "video", max_epochs=1, num_average_epochs=1)
    assert "WER" in run("train_LLM.py", *flags).stdout


def test_a_file_of_word_times_of_other_clips(data: Path, tmp_path: Path) -> None:
    (data / "labels" / "others.csv").write_text("clip,word,start_s,end_s\nx/1,so,0,0.1\n")
    said = pretrain(data, tmp_path, "--word-times-file", "others.csv", ok=False)
    assert "--word-times-file others.csv: found no words of the clips of train.csv" in said
