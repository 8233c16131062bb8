"""A plug-in is one file in its folder, and nothing else need be edited.

It is in --help, in error texts and in the contract tests; it trains, is saved, and reloads equal; and it
changes nothing for checkpoints of before.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest
from safetensors.torch import load_file

from tests import models
from tests.e2e import data_set
from tests.e2e.programs import ROOT, environment, run_warm, train_flags
from tests.golden.checkpoints_0_1.make import HERE as OLD_CHECKPOINTS

pytestmark = pytest.mark.slow

DROPPED = {
    "learned.py": "llama_avsr/compressors",
    "loudness.py": "llama_avsr/encoders",
    "keywords.py": "llama_avsr/tasks",
    "json_lines.py": "datamodules/formats",
}
COPIED = ("llama_avsr", "av_hubert", "datamodules", "preparation", "tests", "pyproject.toml")
SCRIPTS = ("train_LLM.py", "eval_LLM.py")
CONTRACT = ("compressors", "encoders", "tasks", "formats")
PATIENCE_SECONDS = 600


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project with the plug-ins dropped in."""
    copy = Path(tmp_path_factory.mktemp("project"))
    ignored = shutil.ignore_patterns("__pycache__", "golden", "e2e")
    for name in (*COPIED, *SCRIPTS):
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, copy / name, ignore=ignored)
        else:
            shutil.copy(ROOT / name, copy)
    for name, folder in DROPPED.items():
        shutil.copy(Path(__file__).parent / "plugins" / name, copy / folder)
    return copy


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = Path(tmp_path_factory.mktemp("models"))
    from tests.e2e.plugins import loudness

    return {**models.folders(folder), "loudness": loudness.tiny(folder / "loudness")}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set whose label files are .jsonl beside the CSVs."""
    root = data_set.make(Path(tmp_path_factory.mktemp("data")) / "set")
    for csv in (root / "labels").glob("*.csv"):
        rows = [line.split(",", 4) for line in csv.read_text().splitlines()]
        lines = [
            json.dumps({"video": f"{dataset}/{path}", "frames": int(frames), "words": text})
            for dataset, path, frames, _, text in rows
        ]
        csv.with_suffix(".jsonl").write_text("\n".join(lines) + "\n")
    return root


def python(project: Path, *words: object, ok: bool = True) -> subprocess.CompletedProcess[str]:
    env = environment(PYTHONPATH=str(project))
    _, done = run_warm(words, env, PATIENCE_SECONDS, project)
    assert not ok or done.returncode == 0, f"{words}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done


def test_help_and_errors_name_them(project: Path, data: Path, made: dict[str, str]) -> None:
    text = python(project, "train_LLM.py", "--help").stdout
    for flag in ("--learned-width", "--loudness-dim", "--keyword-before", "--json-text-key"):
        assert flag in text
    assert ",learned," in text
    assert ",keywords," in text
    flags = train_flags(data, project / "runs", made)
    wrong = python(project, "train_LLM.py", *flags, "--compression-mode", "larned", ok=False)
    assert (wrong.returncode, "learned" in wrong.stderr) == (2, True)
    wrong = python(project, "train_LLM.py", *flags, "--train-file", "noise.wav", ok=False)
    assert wrong.returncode == 2
    (data / "labels" / "train.xml").write_text("")
    wrong = python(project, "train_LLM.py", *flags, "--train-file", "train.xml", ok=False)
    assert "json-lines (.jsonl)" in wrong.stderr


def test_contract_tests_find_them(project: Path) -> None:
    files = [f"tests/contract/test_{kind}.py" for kind in CONTRACT]
    done = python(project, "-m", "pytest", "-q", "-rA", *files)
    for name in ("learned", "loudness", "keywords", "json-lines"):
        assert f"[{name}" in done.stdout or f"-{name}]" in done.stdout or f"{name}-" in done.stdout, name


@pytest.fixture(scope="module")
def run(project: Path, data: Path, made: dict[str, str]) -> Path:
    flags = {f"{split}_file": f"{split}.jsonl" for split in ("train", "val", "test")}
    flags |= {"task": "keywords", "audio_encoder_name": f"loudness:{made['loudness']}"}
    flags |= {"compression_mode": "learned", "json_text_key": "words", "learned_width": 7, "loudness_dim": 9}
    flags |= {"lr": 0.05, "num_average_epochs": 1}
    flags = train_flags(data, project / "runs", made, **flags)
    python(project, "train_LLM.py", *flags, "--exp-name", "new", "--nbest", 3)
    return project / "runs" / "new"


def test_what_no_pretrained_file_holds_is_trained_and_saved(run: Path, made: dict[str, str]) -> None:
    state = load_file(run / "average" / "model.safetensors")
    assert {"compressors.audio.weights", "compressors.audio.narrow.weight"} <= state.keys()
    assert {"encoders.audio.head.weight", "encoders.audio.head.bias"} <= state.keys()
    assert not [key for key in state if key.startswith("encoders.audio.bands")]
    assert state["compressors.audio.narrow.weight"].shape == (7, 9)
    assert (state["compressors.audio.weights"] - 1 / 3).abs().min() > 1e-4


def test_it_reloads_equal(run: Path, project: Path, data: Path) -> None:
    """What another process decodes with the saved weights is what the training's own test decoded."""
    flags = ["--root-dir", data, "--test-file", "test.jsonl", "--num-beams", 3, "--nbest", 3]
    flags += ["--max-dec-tokens", 6, "--json-text-key", "words", "--output-dir", project / "again"]
    python(project, "eval_LLM.py", "--pretrained-model-path", run, *flags)
    (first,), (again,) = run.rglob("nbest.jsonl"), (project / "again").rglob("nbest.jsonl")
    assert len(rows(first)) == len(rows(again)) > 0
    for (clip, texts, scores), (clip_again, texts_again, scores_again) in zip(
        rows(first), rows(again), strict=True
    ):
        assert (clip, texts) == (clip_again, texts_again)
        assert scores == pytest.approx(scores_again, abs=1e-5)


def test_old_checkpoints_mean_what_they_meant(project: Path, data: Path, made: dict[str, str]) -> None:
    flags = ["--root-dir", data, "--test-file", "test.csv", "--num-beams", 3, "--nbest", 3]
    flags += ["--max-dec-tokens", 6, "--output-dir", project / "old"]
    flags += ["--llm-model", made["llm"], "--audio-encoder-name", made["wavlm"]]
    python(project, "eval_LLM.py", "--pretrained-model-path", OLD_CHECKPOINTS / "audio", *flags)
    (found,) = (project / "old").rglob("nbest.jsonl")
    expected = rows(OLD_CHECKPOINTS / "audio" / "nbest.jsonl")
    assert [(clip, texts) for clip, texts, _ in rows(found)] == [(clip, texts) for clip, texts, _ in expected]
    for (_, _, scores), (_, _, before) in zip(rows(found), expected, strict=True):
        assert scores == pytest.approx(before, abs=1e-3)


def rows(path: Path) -> list[tuple[str, list[str], list[float]]]:
    """(clip, hypotheses, scores) of each line."""
    found = [json.loads(line) for line in path.read_text().splitlines()]
    return [
        (row["id"], [h["text"] for h in row["hypotheses"]], [h["score"] for h in row["hypotheses"]])
        for row in found
    ]
