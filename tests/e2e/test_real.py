"""The whole job on a dozen clips of real people, with models made on the spot."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import av_hubert
from tests import models
from tests.e2e.programs import ROOT, environment

GRID = ROOT.parent / "shared" / "grid"
CLIPS = 12
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not GRID.is_dir(), reason=f"no GRID clips in {GRID.parent.name}/{GRID.name}"),
]


def real(*flags: object) -> str:
    command = [sys.executable, "-m", "llama_avsr", "demo", "real", *map(str, flags)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=900, cwd=ROOT, env=environment())
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


def test_quick(tmp_path: Path) -> None:
    speaker = tmp_path / "grid" / "s1"
    speaker.mkdir(parents=True)
    for path in sorted((GRID / "s1").glob("*.mp4"))[:CLIPS]:
        shutil.copy(path, speaker)
        shutil.copy(path.with_suffix(".align"), speaker)
    made = models.folders(tmp_path / "models")
    flags = ["--grid-dir", speaker.parent, "--root-dir", tmp_path / "data", "--exp-dir", tmp_path / "runs"]
    flags += ["--audio-encoder-name", made["whisper"], "--llm-model", made["llm"], "--quick"]
    said = real(*flags)
    report = (tmp_path / "runs" / "report.md").read_text()
    assert report in said
    for line in (
        "| sound (ASR) | seen ",
        "| lips (VSR) ",
        "| both (AVSR) ",
        "| letter ",
        "Control, every clip",
    ):
        assert line in report
    for picture in ("wer_vs_snr.png", "mouths.png", "lips_curve.png"):
        assert (tmp_path / "runs" / picture).stat().st_size > 10_000
    assert av_hubert.load_checkpoint(tmp_path / "runs" / "lips" / "av_hubert").dim == 32
    again = real(*flags, "--no-control")
    assert again.count("is already trained") == 4
