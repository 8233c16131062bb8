"""Push a model, load it from elsewhere, with and without network, against a stand-in for the hub."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from llama_avsr.checkpoints import folder as checkpoint
from llama_avsr.options import to_dict
from tests import hub, models
from tests.e2e import data_set
from tests.e2e.programs import ROOT

pytestmark = pytest.mark.slow
NOWHERE = "http://127.0.0.1:9"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return models.folders(Path(tmp_path_factory.mktemp("models")))


@pytest.fixture(scope="module")
def run_folder(made: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run as a training leaves it, with a result."""
    folder = Path(tmp_path_factory.mktemp("home")) / "secret" / "first"
    options = models.options(made, "audio", root_dir=folder / "data", project_wandb="secret-project")
    options = options.updated({"noise_file": folder / "noise.wav", "slurm_job_id": "777"})
    model = models.build(made, "audio")
    checkpoint.write(folder / "average", checkpoint.saved_state(model), to_dict(options))
    results = folder / "results" / "average" / "test_0dB"
    results.mkdir(parents=True)
    summary = {"metric": "wer", "wer": 12.3456, "wer_interval_95": [10.0, 15.0], "num_clips": 5}
    summary |= {"label_file": str(folder / "labels" / "test.csv"), "snr_db": 0.0, "speech_hours": 0.5}
    (results / "summary.json").write_text(json.dumps({**summary, "decoding": {"num_beams": 3}}))
    return folder


@pytest.fixture(scope="module")
def server() -> Iterator[hub.Hub]:
    with hub.running() as found:
        yield found


def call(*command: object, endpoint: str, cache: Path, ok: bool = True, **more: str) -> str:
    """What a program of its own prints, on both channels."""
    cleared = {key: value for key, value in os.environ.items() if not key.startswith("HF_")}
    environment = {**cleared, "HF_ENDPOINT": endpoint, "HF_HOME": str(cache), "OMP_NUM_THREADS": "1"}
    environment |= {"HF_HUB_DISABLE_XET": "1", "CUDA_VISIBLE_DEVICES": "", **more}
    done = subprocess.run(
        [sys.executable, *map(str, command)], capture_output=True, text=True, env=environment, cwd=ROOT
    )
    said = done.stdout + done.stderr
    assert (done.returncode == 0) == ok, said
    assert "Traceback" not in said
    return said


def push(*flags: object, endpoint: str, cache: Path, ok: bool = True, **more: str) -> str:
    return call("-m", "llama_avsr.commands.push", *flags, endpoint=endpoint, cache=cache, ok=ok, **more)


@pytest.fixture(scope="module")
def pushed(server: hub.Hub, run_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The revision."""
    cache = Path(tmp_path_factory.mktemp("cache"))
    said = push(run_folder, "user/model", endpoint=server.endpoint, cache=cache, HF_TOKEN=hub.TOKEN)
    revision = server.repositories["user/model"].branches["main"]
    assert f"revision {revision}" in said
    assert "--llm-model names a local model, llm" in said
    return revision


def test_what_is_pushed(server: hub.Hub, pushed: str, run_folder: Path) -> None:
    files = server.repositories["user/model"].commits[pushed]
    assert sorted(files) == ["README.md", "config.yaml", "model.safetensors"]
    assert files["model.safetensors"] == (run_folder / "average" / "model.safetensors").read_bytes()
    for name in ("README.md", "config.yaml"):
        text = files[name].decode()
        assert str(run_folder.parent.parent) not in text
        assert "secret" not in text
        assert str(ROOT) not in text
        assert "777" not in text
    _, front, text = files["README.md"].decode().split("---", 2)
    card = yaml.safe_load(front)
    assert card["pipeline_tag"] == "automatic-speech-recognition"
    assert card["model-index"][0]["results"][0]["metrics"][0]["value"] == 12.3456
    assert "12.35 [10.00, 15.00]" in text
    assert "0 dB" in text
    assert "unknown: see llm" in text


def test_evaluation_pins_the_revision_and_needs_no_network_twice(
    server: hub.Hub, pushed: str, made: dict[str, str], tmp_path: Path
) -> None:
    data = data_set.make(tmp_path / "data", video=False)
    where = ["--llm-model", made["llm"], "--audio-encoder-name", made["whisper"], "--root-dir", data]
    quick = ["--test-file", "test.csv", "--num-workers", 0, "--max-dec-tokens", 3, "--num-beams", 1]
    for place, endpoint in (("first", server.endpoint), ("second", NOWHERE)):
        flags = ["--pretrained-model-path", "user/model", "--output-dir", tmp_path / place]
        call("eval_LLM.py", *flags, *where, *quick, endpoint=endpoint, cache=tmp_path / "cache")
        summary = json.loads((tmp_path / place / "test" / "summary.json").read_text())
        assert summary["model"] == "user/model"
        assert summary["weights"]["revision"] == pushed
        assert len(summary["weights"]["sha256"]) == 64


def test_load_by_name_and_what_cannot_be_loaded(
    server: hub.Hub, pushed: str, made: dict[str, str], tmp_path: Path
) -> None:
    script = tmp_path / "use.py"
    where = f"llm_model={made['llm']!r}, audio_encoder_name={made['whisper']!r}, accelerator='cpu'"
    script.write_text(
        "import llama_avsr\n"
        "def said(name):\n"
        "    try:\n"
        f"        return llama_avsr.load(name, {where}).trained.name\n"
        "    except ValueError as error:\n"
        "        return f'error: {error}'\n"
        f"for name in ('user/model@{pushed}', 'user/none', 'user/model@none'):\n"
        "    print(said(name))\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    said = call(
        script,
        endpoint=server.endpoint,
        cache=tmp_path / "cache",
        PYTHONPATH=environment["PYTHONPATH"],
    ).splitlines()
    assert f"user/model@{pushed}" in said
    errors = [line for line in said if line.startswith("error: ")]
    assert "the hub has no such model" in errors[0]
    assert "user/none" in errors[0]
    assert "no revision none" in errors[1]


def test_without_network(tmp_path: Path, run_folder: Path) -> None:
    flags = ["--pretrained-model-path", "user/model", "--root-dir", tmp_path]
    said = call("eval_LLM.py", *flags, endpoint=NOWHERE, cache=tmp_path, ok=False)
    assert "user/model: found no such folder" in said
    assert "the hub cannot be reached" in said
    said = push(run_folder, "user/model", endpoint=NOWHERE, cache=tmp_path, ok=False, HF_TOKEN=hub.TOKEN)
    assert "the hub cannot be reached" in said


def test_a_private_branch_and_no_token(server: hub.Hub, run_folder: Path, tmp_path: Path) -> None:
    flags = [run_folder / "average", "user/other", "--private", "--branch", "v2", "--license", "mit"]
    said = push(*flags, endpoint=server.endpoint, cache=tmp_path, ok=False)
    assert "hf auth login" in said
    push(*flags, endpoint=server.endpoint, cache=tmp_path, HF_TOKEN=hub.TOKEN)
    made = server.repositories["user/other"]
    assert made.private
    assert made.commits[made.branches["main"]] == {}
    assert b"license: mit" in made.commits[made.branches["v2"]]["README.md"]


def test_dry_run_asks_nothing(run_folder: Path, tmp_path: Path) -> None:
    push(run_folder, "user/model", "--dry-run", tmp_path / "out", endpoint=NOWHERE, cache=tmp_path)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "README.md",
        "config.yaml",
        "model.safetensors",
    ]
    assert checkpoint.read_state(tmp_path / "out")
