"""The demo: the whole of it in a tenth."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.programs import ROOT

pytestmark = pytest.mark.slow


def test_quick_demo(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "llama_avsr.demo.recognition", "--quick", "--control"]
    command += ["--root-dir", tmp_path / "data", "--exp-dir", tmp_path / "runs"]
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(
        list(map(str, command)), capture_output=True, text=True, timeout=500, cwd=ROOT, env=environment
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    for said in ("| sound (ASR) | seen ", "| lips (VSR)  | unseen ", "| both (AVSR) | unseen ", "wall time"):
        assert said in done.stdout
    assert (tmp_path / "runs" / "wer_vs_snr.png").stat().st_size > 10_000
    for model, conditions in (("asr", 8), ("vsr", 2), ("avsr", 8)):
        results = [
            path for path in (tmp_path / "runs" / model).rglob("summary.json") if "shuffled" not in str(path)
        ]
        assert len(results) == conditions
        assert (tmp_path / "runs" / model / "average" / "model.safetensors").is_file()
