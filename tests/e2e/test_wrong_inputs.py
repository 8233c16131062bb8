"""What a user sees who gets something wrong: one readable message, exit code 2, no traceback."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

import train_LLM
from llama_avsr import cli
from tests import models
from tests.e2e import data_set
from tests.e2e.programs import ROOT, run, train_flags

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return models.folders(Path(tmp_path_factory.mktemp("models")))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = data_set.make(Path(tmp_path_factory.mktemp("data")) / "set", num_train=3, num_test=2, video=False)
    good = (root / "labels" / "train.csv").read_text()
    (root / "labels" / "broken.csv").write_text(good + "mini,mini_video_seg16s/train/00.mp4,twenty,0,hello\n")
    (root / "labels" / "absent.csv").write_text(good + "mini,mini_video_seg16s/train/99.mp4,20,0,hello\n")
    (root / "labels" / "empty.csv").write_text("")
    return root


CASES = {
    "missing root folder": (
        {"root_dir": "/nowhere/at/all"},
        "--root-dir /nowhere/at/all: found no such folder",
    ),
    "missing label file": ({"train_file": "none.csv"}, "none.csv"),
    "broken label line": ({"train_file": "broken.csv"}, "broken.csv:4: "),
    "missing media": ({"train_file": "absent.csv"}, "absent.csv:4"),
    "empty test set": ({"test_file": "empty.csv"}, "empty.csv"),
    "unknown LLM": ({"llm_model": "./no-such-llm"}, "--llm-model ./no-such-llm: found no such folder"),
    "unknown encoder": (
        {"audio_encoder_name": "./no-such"},
        "--audio-encoder-name ./no-such: found no such folder",
    ),
    "an LLM as encoder": (
        {"audio_encoder_name": "LLM"},
        "no encoder reads a model of type llama; known types:",
    ),
    "contradicting flags": ({"reduction_lora": 4}, "--reduction_lora and --lora-rank both give"),
    "nothing to unfreeze": ({"unfrozen_modules": "encoders.vidio"}, "no parameter is called so"),
    "LoRA on nothing": (
        {"lora_targets": "query"},
        "--lora-targets query: this LLM has no such layer; it has down_proj",
    ),
    "nothing to resume": ({"ckpt_path": "last"}, "--ckpt-path last: found no checkpoint in"),
    "no model to start from": (
        {"pretrained_model_path": "/nowhere"},
        "--pretrained-model-path /nowhere: found no",
    ),
    "no GPU": ({"accelerator": "gpu"}, "--accelerator gpu: found no GPU that PyTorch can use"),
    "a name that is a way out": ({"exp_name": "../../x"}, "--exp-name ../../x leads out of --exp-dir"),
    "missing noise": ({"noise_file": "/no.wav"}, "--noise-file /no.wav: found no such file"),
    "noise that is none": ({"noise_file": "README.md"}, "README.md"),
}


@pytest.mark.parametrize("case", CASES)
def test_message(
    case: str,
    made: dict[str, str],
    data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """In this process: seventeen more would each import all the libraries anew."""
    changed, expected = CASES[case]
    changed = {key: made["llm"] if value == "LLM" else value for key, value in changed.items()}
    flags = list(map(str, train_flags(data, tmp_path, made, **changed)))
    monkeypatch.setattr(sys, "argv", ["train_LLM.py", *flags])
    monkeypatch.chdir(ROOT)
    with pytest.raises(SystemExit) as left:
        cli.run(train_LLM.main)
    check(left.value.code, capsys.readouterr().err, expected)
    assert not list(tmp_path.rglob("*.safetensors"))


def test_a_process_of_its_own_says_the_same(made: dict[str, str], data: Path, tmp_path: Path) -> None:
    changed, expected = CASES["broken label line"]
    done = run("train_LLM.py", *train_flags(data, tmp_path, made, **changed), ok=False)
    check(done.returncode, done.stderr, expected)


def check(code: int, errors: str, expected: str) -> None:
    messages = [line for line in errors.splitlines() if line.startswith("train_LLM.py: error: ")]
    assert code == 2, errors
    assert "Traceback" not in errors
    assert expected in " ".join(messages)
