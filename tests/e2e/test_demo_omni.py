"""The demo of one elastic model, the whole of it in a tenth."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.programs import ROOT

pytestmark = pytest.mark.slow


def test_quick_demo_of_one_elastic_model(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "llama_avsr.demo.omni", "--quick", "--root-dir", tmp_path / "data"]
    command += ["--exp-dir", tmp_path / "runs", "--specialists", tmp_path / "none"]
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(
        list(map(str, command)), capture_output=True, text=True, timeout=900, cwd=ROOT, env=environment
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    rows = [line for line in done.stdout.splitlines() if line.startswith("| ") and " omni " in line]
    rates = [[cell.strip() for cell in row.split("|")[1:3]] for row in rows if not row.startswith("| omni")]
    single = [["asr", "4"], ["asr", "8"], ["vsr", "2"], ["vsr", "4"]]
    assert rates == [*single, *(["avsr", f"{a} {v}"] for a in (4, 8) for v in (2, 4))]
    assert sum("specialist |" in line for line in done.stdout.splitlines()) == 3
    assert "| three specialists |" in done.stdout
    updates = {
        line.split("|")[1].strip(): line.split("|")[3].strip()
        for line in done.stdout.splitlines()
        if line.startswith(("| omni ", "| asr  ", "| vsr  ", "| avsr ")) and line.count("|") == 5
    }
    assert len(updates) == 4
    assert len(set(updates.values())) == 1
    assert (tmp_path / "runs" / "wer_vs_tokens.png").stat().st_size > 10_000
