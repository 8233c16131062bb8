"""An aligner, trained with a model or after it, through the programs as a user calls them."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from safetensors.torch import load_file

from tests import models
from tests.e2e import data_set
from tests.e2e.programs import environment, run, run_warm, train_flags

pytestmark = pytest.mark.slow


def test_an_aligner_changes_nothing_of_the_model(tmp_path: Path) -> None:
    made = models.folders(tmp_path / "models")
    data = data_set.make(tmp_path / "set", video=False)
    more = {"max_epochs": 1, "num_average_epochs": 1, "prompt_audio": "transcribe speech to text ."}
    for name, steps in (("with", 3), ("without", 0)):
        run("train_LLM.py", *train_flags(data, tmp_path, made, **more, exp_name=name, aligner_steps=steps))
    folders = [tmp_path / name / "average" for name in ("with", "without")]
    states = [load_file(folder / "model.safetensors") for folder in folders]
    assert states[0].keys() == states[1].keys()
    assert all((states[0][key] == states[1][key]).all() for key in states[0])
    assert not (folders[1] / "words.safetensors").exists()
    listed = yaml.safe_load((folders[0] / "config.yaml").read_text())["files"]
    assert listed.keys() == {"model.safetensors", "words.safetensors"}

    words = ["-m", "llama_avsr", "align", str(tmp_path / "without"), "--steps", "2", "--accelerator", "cpu"]
    _, done = run_warm(words, environment(), timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(folders[1] / "words.safetensors")
    heads = load_file(folders[1] / "words.safetensors")
    assert any(key.startswith("heads.audio.") for key in heads)
