"""Checkpoint folders that version 0.1 wrote load, and write what they wrote then."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests import models
from tests.e2e import data_set
from tests.e2e.programs import run, train_flags
from tests.golden.checkpoints_0_1.make import CASES, HERE

pytestmark = pytest.mark.slow
SCORE_TOLERANCE = 1e-2
"""Version 0.1 took grey by way of RGB, up to two levels of 255 off; found: 4e-3."""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return models.folders(Path(tmp_path_factory.mktemp("models")))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = data_set.make(Path(tmp_path_factory.mktemp("data")) / "set")
    data_set.make_manifests(root)
    return root


def weights(name: str, made: dict[str, str]) -> list[object]:
    """Flags that say where the pretrained models lie now; the demo's are found by the path of old."""
    if name == "demo":
        return []
    audio = CASES[name][1].get("audio_encoder_name", "whisper")
    return [
        *("--llm-model", made["llm"]),
        *("--audio-encoder-name", made[str(audio)]),
        *("--pretrain-avhubert-enc-video-path", made["av_hubert"]),
        *("--pretrain-avhubert-enc-audiovisual-path", made["av_hubert"]),
    ]


@pytest.mark.parametrize("name", CASES)
def test_evaluation_writes_the_same(name: str, made: dict[str, str], data: Path, tmp_path: Path) -> None:
    flags = ["--root-dir", data, "--test-file", CASES[name][1].get("test_file", "test.csv")]
    flags += ["--num-beams", 3, "--nbest", 3, "--max-dec-tokens", 6, "--output-dir", tmp_path]
    run("eval_LLM.py", "--pretrained-model-path", HERE / name, *flags, *weights(name, made))
    (found,) = tmp_path.rglob("nbest.jsonl")
    expected = read(HERE / name / "nbest.jsonl")
    decoded = read(found)
    assert decoded.keys() == expected.keys()
    for clip, hypotheses in decoded.items():
        best, score = expected[clip][0]["text"], expected[clip][0]["score"]
        assert {h["text"]: h["score"] for h in hypotheses}[best] == pytest.approx(score, abs=SCORE_TOLERANCE)


def test_training_goes_on(made: dict[str, str], data: Path, tmp_path: Path) -> None:
    (checkpoint,) = (HERE / "resume").iterdir()
    modality, options = CASES["audiovisual"]
    flags = train_flags(
        data, tmp_path, made, modality, **options, max_epochs=2, num_average_epochs=1, lr=0.01
    )
    run("train_LLM.py", *flags, "--exp-name", "on", "--no-auto-test", "--ckpt-path", checkpoint)
    assert (tmp_path / "on" / "average" / "model.safetensors").is_file()


def read(path: Path) -> dict[str, list[dict[str, object]]]:
    return {row["id"]: row["hypotheses"] for row in map(json.loads, path.read_text().splitlines())}
