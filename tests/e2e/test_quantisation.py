"""QLoRA through the entry scripts."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file

from tests import models, tiny
from tests.e2e import data_set
from tests.e2e.programs import run, train_flags

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("mode", ["8bit", "nf4"])
def test_training_and_evaluation(mode: str, tmp_path: Path) -> None:
    data = data_set.make(tmp_path / "data", num_train=6, num_test=3, video=False)
    made = {**models.folders(tmp_path / "models"), "llm": tiny.llm(tmp_path / "llm", width=64)}
    said = run(
        "train_LLM.py",
        *train_flags(data, tmp_path, made, quantization=mode, max_epochs=2, exp_name="first"),
    )
    dtype = {"8bit": "int8", "nf4": "uint8"}[mode]
    (row,) = [line for line in said.stderr.splitlines() if line.startswith("LLM ")]
    assert dtype in row
    assert "bitsandbytes" not in said.stderr

    average = tmp_path / "first" / "average"
    assert yaml.safe_load((average / "config.yaml").read_text())["options"]["llm"]["quantization"] == mode
    state = load_file(average / "model.safetensors")
    assert all("lora_" in key or key.startswith(("projectors.", "added_tokens.")) for key in state)
    assert {value.dtype for value in state.values()} == {torch.float32}
    with (tmp_path / "first" / "metrics.csv").open() as file:
        losses = [float(row["val/loss"]) for row in csv.DictReader(file) if row["val/loss"]]
    assert len(losses) == 2
    assert losses[0] != losses[1]

    run(
        "eval_LLM.py",
        *("--pretrained-model-path", tmp_path / "first", "--root-dir", data, "--test-file", "test.csv"),
        *("--output-dir", tmp_path / "again", "--num-workers", 0, "--num-beams", 3, "--max-dec-tokens", 6),
    )
    hypotheses = [
        folder / "test" / "hypotheses.csv"
        for folder in (average.parent / "results/average", tmp_path / "again")
    ]
    assert hypotheses[0].read_text() == hypotheses[1].read_text()
