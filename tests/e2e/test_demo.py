"""The demo: the whole of it in a tenth, and a model that really learns to listen."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.conftest import Listener
from tests.e2e.programs import ROOT, run

pytestmark = pytest.mark.slow


def test_quick_demo(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "llama_avsr.demo", "--quick", "--control"]
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


def test_the_words_come_from_the_speech(listener: Listener) -> None:
    """Loose bounds: far below what a short training reaches, far above guessing."""
    data = listener.data
    test = ("--root-dir", data, "--num-workers", 0, "--noise-file", data / "babble.wav")
    test += ("--test-file", "demo_test_seen_transcript_lengths_seg16s_LLM_lowercase.csv", "--num-beams", 4)
    for flag in ((), ("--shuffle-speech",)):
        run("eval_LLM.py", "--pretrained-model-path", listener.run, *test, *flag)
    results = listener.run / "results" / "average"
    wer = {path.parent.name: json.loads(path.read_text())["wer"] for path in results.rglob("summary.json")}
    heard, shuffled = (wer[name] for name in sorted(wer, key=len))
    assert heard < 25
    assert shuffled > 70
