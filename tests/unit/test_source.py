"""What --pretrained-model-path means."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
import torch

from llama_avsr.checkpoints import folder as checkpoint
from llama_avsr.checkpoints.hub import is_hub_name
from llama_avsr.checkpoints.source import Checkpoint, Release, find_source
from llama_avsr.evaluation.loading import evaluation_options, load_model
from llama_avsr.options import Options, to_dict
from tests import models
from tests.golden.llama_avsr_releases import release

RELEASE = release("a_whisper_stack3_llama31")


@pytest.fixture
def run(tmp_path: Path) -> Path:
    checkpoint.write(tmp_path / "run" / "average", {"w": torch.ones(2)}, {})
    return tmp_path / "run"


@pytest.mark.parametrize("inside", ["", "average", "average/model.safetensors", "average/config.yaml"])
def test_all_that_means_a_checkpoint(run: Path, inside: str) -> None:
    source = find_source(run / inside)
    assert isinstance(source, Checkpoint)
    assert source.folder == run / "average"
    assert source.results == run / "results" / "average"
    assert len(source.provenance["sha256"]) == 64


def test_a_published_file() -> None:
    source = find_source(RELEASE)
    assert isinstance(source, Release)
    assert source.results == RELEASE.parent / "results" / RELEASE.stem
    assert source.trained is None


def test_what_is_no_source(run: Path, tmp_path: Path) -> None:
    alone = shutil.copy(run / "average" / "model.safetensors", tmp_path / "alone.safetensors")
    with pytest.raises(ValueError, match=r"found no config\.yaml with model\.safetensors beside it"):
        find_source(alone)
    with pytest.raises(ValueError, match="found no such folder"):
        find_source(tmp_path / "nowhere")
    with pytest.raises(ValueError, match=r"found no config\.yaml in it"):
        find_source(tmp_path)
    unfinished = tmp_path / "unfinished"
    shutil.copytree(run / "average", unfinished / "checkpoints" / "epoch=00-step=000001")
    with pytest.raises(ValueError, match=r"not finished.*epoch=00-step=000001"):
        find_source(unfinished)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("user/model", True),
        ("user/model@v1.0", True),
        ("user/model@refs/pr/3", True),
        ("model", False),
        ("runs/first/average", False),
        ("../model", False),
        ("/user/model", False),
        ("user/model@", False),
    ],
)
def test_hub_names(text: str, expected: bool) -> None:
    assert is_hub_name(text) is expected


def test_relative_names_are_found_where_the_model_was_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there, here = tmp_path / "there", tmp_path / "here"
    here.mkdir()
    made = models.folders(there / "models")
    monkeypatch.chdir(there)
    relative = {name: os.path.relpath(path) for name, path in made.items()}
    model = models.build(relative, "audio")
    saved = to_dict(models.options(relative, "audio"))
    checkpoint.write(there / "average", checkpoint.saved_state(model), saved)
    monkeypatch.chdir(here)
    asked = {"pretrained_model_path": there / "average", "root_dir": here}
    source = find_source(there / "average")
    options = evaluation_options(Options().updated(asked), asked, source=source)
    assert options.llm.llm_model == made["llm"]
    load_model(options, source)
    # Elsewhere, and gone from there too: what was looked for, and where. No hub is asked.
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    shutil.move(there / "models", tmp_path / "moved")
    source = find_source(there / "average")
    options = evaluation_options(Options().updated(asked), asked, source=source)
    with pytest.raises(ValueError, match=r"--llm-model models/llm: .*" + str(there)):
        load_model(options, source)
