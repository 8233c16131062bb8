"""MMS-LLaMA's job through the programs: sound and lips fused, queries by speech rate; resumed, evaluated."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import pytest
from safetensors.torch import load_file

from llama_avsr.compressors import _speech_rate
from tests import models
from tests.e2e import data_set
from tests.e2e.programs import environment, run, run_warm, train_flags

pytestmark = pytest.mark.slow

IDLE = {"--prompt-audio", "--max-frames-audio", "--max-frames-video"}
IDLE |= {"--pretrain-avhubert-enc-audiovisual-path"}
PREFIX = "{LRS3_ROOT}=mini"
STEP = "inside-epoch=01-step=000010"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return models.folders(Path(tmp_path_factory.mktemp("models")))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Manifests as published: no languages, speech rates, paths that begin with a name in braces."""
    root = data_set.make(Path(tmp_path_factory.mktemp("data")) / "set")
    for path in sorted((root / "labels").glob("*.csv")):
        rows, texts = ["/"], []
        for line in path.read_text().splitlines():
            _, name, frames, _, text = line.split(",")
            stem = f"{{LRS3_ROOT}}/{name.removesuffix('.mp4')}"
            rows.append(
                f"mini/mini_video_seg16s\t{stem}.mp4\t{stem}.wav\t{frames}\t{int(frames) * 640}\t1.07"
            )
            texts.append(text)
        path.with_suffix(".tsv").write_text("\n".join(rows) + "\n")
        path.with_suffix(".wrd").write_text("\n".join(texts) + "\n")
    return root


@pytest.fixture(scope="module")
def predictor(made: dict[str, str], data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Trained on the same clips."""
    runs = Path(tmp_path_factory.mktemp("runs"))
    files = {"root_dir": data, "train_file": "train.tsv", "val_file": "val.tsv", "exp_dir": runs}
    sizes = {"predictor_layers": 1, "predictor_dim": 16, "max_frames_audio": 90, "max_epochs": 2, "lr": 0.01}
    encoder = {
        "audio_encoder_name": made["whisper"],
        "whisper_padding": "none",
        "whisper_waveform": "as-read",
    }
    how = {"path_prefix": PREFIX, "num_workers": 0, "num_average_epochs": 2, "accelerator": "cpu"}
    words = [
        word
        for key, value in {**files, **sizes, **encoder, **how}.items()
        for word in (f"--{key.replace('_', '-')}", str(value))
    ]
    _, done = run_warm(["-m", "llama_avsr", "pretrain-speech-rate", *words], environment(), 300)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "held-out error of the average: " in done.stdout
    return runs / "speech_rate" / "speech_rate.safetensors"


def test_a_predictor_is_trained(predictor: Path) -> None:
    trained = _speech_rate.load(predictor)
    assert trained.in_dim == 16
    assert trained.sr_predictor.weight.abs().max() > 0  # where it began
    steps = list((predictor.parent / "checkpoints").glob("*step=*/model.safetensors"))
    assert len(steps) >= 2
    assert set(load_file(steps[0])) == set(trained.state_dict())


def flags(data: Path, runs: Path, made: dict[str, str], **more: object) -> list[object]:
    fused = {
        **models.QFORMER,
        "whisper_waveform": "as-read",
        "path_prefix": PREFIX,
        "noise_file": data / "noise.wav",
        **{f"{split}_file": f"{split}.tsv" for split in ("train", "val", "test")},
        "lr_schedule": "floored-cosine",
        "save_every_n_steps": 10,
    }
    words = train_flags(data, runs, made, "audiovisual", **{**fused, **more})
    pairs = zip([None, *words], words, strict=False)
    return [word for before, word in pairs if not {str(before), str(word)} & IDLE]


@pytest.fixture(scope="module")
def whole(
    made: dict[str, str], data: Path, predictor: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    runs = Path(tmp_path_factory.mktemp("runs"))
    run("train_LLM.py", *flags(data, runs, made, speech_rate_predictor=predictor))
    return runs / "audiovisual"


def test_what_is_new_is_trained_and_saved_and_what_is_not_is_not(whole: Path) -> None:
    folders = {path.name.split("step=")[1]: path for path in (whole / "checkpoints").glob("epoch=*")}
    first, last = (load_file(folders[step] / "model.safetensors") for step in (min(folders), max(folders)))
    parts = {".".join(key.split(".")[:2]) for key in last}
    wanted = ("compressors", "fusions", "projectors")
    assert {f"{part}.audiovisual" for part in wanted} <= parts
    assert not [key for key in last if "predictor" in key or key.startswith("encoders.")]
    for part in wanted:
        mine = [key for key in last if key.startswith(f"{part}.") and "key.bias" not in key]
        assert all(not last[key].equal(first[key]) for key in mine), part


def test_resume_inside_an_epoch_equals_uninterrupted(
    whole: Path, made: dict[str, str], data: Path, predictor: Path, tmp_path: Path
) -> None:
    copied = tmp_path / "audiovisual" / "checkpoints" / STEP
    shutil.copytree(whole / "checkpoints" / STEP, copied)
    more = {"speech_rate_predictor": predictor, "ckpt_path": "last", "auto_test": False}
    run("train_LLM.py", *flags(data, tmp_path, made, **more))
    resumed = load_file(tmp_path / "audiovisual" / "average" / "model.safetensors")
    for key, value in load_file(whole / "average" / "model.safetensors").items():
        assert resumed[key].equal(value), key


def test_evaluation_needs_no_flag_of_the_model(whole: Path, data: Path, tmp_path: Path) -> None:
    where = ("--pretrained-model-path", whole, "--root-dir", data, "--output-dir", tmp_path)
    data_flags = ("--test-file", "test.tsv", "--path-prefix", PREFIX)
    quick = ("--num-workers", 0, "--max-dec-tokens", 6, "--num-beams", 3)
    run("eval_LLM.py", *where, *data_flags, *quick)
    found = json.loads((tmp_path / "test" / "summary.json").read_text())
    # Six queries a second, twice as many for the fastest.
    assert 6 <= found["tokens_per_frame"] * 25 <= 12
    after_training = whole / "results" / "average" / "test" / "hypotheses.csv"
    rows = [list(csv.DictReader(path.open())) for path in (tmp_path / "test/hypotheses.csv", after_training)]
    assert len(rows[0]) == 5
    assert rows[0] == rows[1]
