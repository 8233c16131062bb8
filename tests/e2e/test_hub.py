"""Push a model, load it from elsewhere, with and without network, against a stand-in for the hub."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

from llama_avsr.checkpoints import folder as checkpoint
from llama_avsr.options import to_dict
from tests import hub, models
from tests.e2e import data_set
from tests.e2e.programs import ROOT, environment, run_warm

pytestmark = pytest.mark.slow
PUSH = ("-m", "llama_avsr.commands.push")
PATIENCE_SECONDS = 300


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


Call = Callable[..., str]


@pytest.fixture(scope="module")
def call(server: hub.Hub, tmp_path_factory: pytest.TempPathFactory) -> Call:
    """Runs a program whose hub is `server`, with one cache for all; gives what it prints."""
    cleared = {key: value for key, value in environment().items() if not key.startswith("HF_")}
    cache = str(tmp_path_factory.mktemp("cache"))
    env = {**cleared, "HF_ENDPOINT": server.endpoint, "HF_HOME": cache, "HF_HUB_DISABLE_XET": "1"}

    def called(*command: object, ok: bool = True, token: str | None = None) -> str:
        told = env if token is None else {**env, "HF_TOKEN": token}
        _, done = run_warm(command, told, PATIENCE_SECONDS)
        said = done.stdout + done.stderr
        assert (done.returncode == 0) == ok, said
        assert "Traceback" not in said
        return said

    return called


@pytest.fixture(scope="module")
def pushed(server: hub.Hub, call: Call, run_folder: Path) -> str:
    """The revision."""
    said = call(*PUSH, run_folder, "user/model", token=hub.TOKEN)
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
    server: hub.Hub, call: Call, pushed: str, made: dict[str, str], tmp_path: Path
) -> None:
    data = data_set.make(tmp_path / "data", num_test=2, video=False)
    where = ["--llm-model", made["llm"], "--audio-encoder-name", made["whisper"], "--root-dir", data]
    quick = ["--test-file", "test.csv", "--num-workers", 0, "--max-dec-tokens", 3, "--num-beams", 1]
    for place, network in (("first", contextlib.nullcontext()), ("second", server.unreachable())):
        flags = ["--pretrained-model-path", "user/model", "--output-dir", tmp_path / place]
        with network:
            call(ROOT / "eval_LLM.py", *flags, *where, *quick)
        summary = json.loads((tmp_path / place / "test" / "summary.json").read_text())
        assert summary["model"] == "user/model"
        assert summary["weights"]["revision"] == pushed
        assert len(summary["weights"]["sha256"]) == 64


def test_load_by_name_and_what_cannot_be_loaded(
    call: Call, pushed: str, made: dict[str, str], tmp_path: Path
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
    said = call(script).splitlines()
    assert f"user/model@{pushed}" in said
    errors = [line for line in said if line.startswith("error: ")]
    assert "the hub has no such model" in errors[0]
    assert "user/none" in errors[0]
    assert "no revision none" in errors[1]


def test_without_network(server: hub.Hub, call: Call, tmp_path: Path, run_folder: Path) -> None:
    """Of a model that the cache does not hold."""
    flags = ["--pretrained-model-path", "user/other", "--root-dir", tmp_path]
    with server.unreachable():
        said = call(ROOT / "eval_LLM.py", *flags, ok=False)
        assert "user/other: found no such folder" in said
        assert "the hub cannot be reached" in said
        said = call(*PUSH, run_folder, "user/model", ok=False, token=hub.TOKEN)
        assert "the hub cannot be reached" in said


def test_a_private_branch_and_no_token(server: hub.Hub, call: Call, run_folder: Path) -> None:
    flags = [run_folder / "average", "user/other", "--private", "--branch", "v2", "--license", "mit"]
    said = call(*PUSH, *flags, ok=False)
    assert "hf auth login" in said
    call(*PUSH, *flags, token=hub.TOKEN)
    made = server.repositories["user/other"]
    assert made.private
    assert made.commits[made.branches["main"]] == {}
    assert b"license: mit" in made.commits[made.branches["v2"]]["README.md"]


def test_dry_run_asks_nothing(server: hub.Hub, call: Call, run_folder: Path, tmp_path: Path) -> None:
    with server.unreachable():
        call(*PUSH, run_folder, "user/model", "--dry-run", tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "README.md",
        "config.yaml",
        "model.safetensors",
    ]
    assert checkpoint.read_state(tmp_path / "out")
