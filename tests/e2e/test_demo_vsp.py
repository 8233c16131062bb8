"""The demo of translation, the whole of it in a tenth; and a second run, which finds the first."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.programs import ROOT

pytestmark = pytest.mark.slow


def demo(runs: Path, *flags: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "llama_avsr.demo.translation", "--quick", "--exp-dir", runs]
    command += ["--root-dir", runs.parent / "data", *flags]
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    return subprocess.run(
        list(map(str, command)), capture_output=True, text=True, timeout=900, cwd=ROOT, env=environment
    )


def test_quick_demo_of_translation(tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    done = demo(runs)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    for said in ("| units   | seen ", "| stack 2 | unseen ", "BLEU en-es", "wall time"):
        assert said in done.stdout
    rates = {}
    for model in ("units", "stack2"):
        for path in sorted((runs / model).rglob("summary.json")):
            found = json.loads(path.read_text())
            assert found["directions"] == {"en": 10, "en-es": 10}
            # Hardly trained: sentences of the grammar, little more (81 % wrong words are guessed ones).
            assert 0 < found["wer"] < 95
            assert 0 < found["bleu"] < 100
            rates.setdefault(model, []).append(found["tokens_per_frame"])
        assert len(rates[model]) == 2
    assert rates["stack2"] == pytest.approx([0.49, 0.49], abs=0.01)
    assert rates["units"] == pytest.approx([0.5, 0.5], abs=0.15)

    weights = (runs / "units" / "average" / "model.safetensors").stat()
    refused = demo(runs, "--seed", 7)
    assert refused.returncode == 2
    assert "with" in refused.stderr
    assert "--fresh" in refused.stderr
    assert (runs / "units" / "average" / "model.safetensors").stat() == weights
