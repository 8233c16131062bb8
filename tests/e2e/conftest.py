"""A model that has really learnt to listen, trained once for all tests that ask for it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.e2e.programs import ROOT, run


@dataclass(frozen=True)
class Listener:
    """The demo's ASR after a short training."""

    data: Path
    """Root folder of its corpus."""
    run: Path
    """Folder of its run."""


@pytest.fixture(scope="session")
def listener(tmp_path_factory: pytest.TempPathFactory) -> Listener:
    """A minute or two: for slow tests alone."""
    root = tmp_path_factory.mktemp("listener")
    data, runs = root / "data", root / "runs"
    run("prepare_data.py", "demo", "--root-dir", data, "--num-train", 400, "--num-val", 10, "--num-test", 40)
    common = ("--root-dir", data, "--num-workers", 0, "--noise-file", data / "babble.wav")
    short = ("--max-epochs", 4, "--exp-dir", runs, "--exp-name", "asr", "--no-auto-test")
    run("train_LLM.py", "--config", ROOT / "recipes/demo/asr.yaml", *common, *short)
    return Listener(data, runs / "asr")
