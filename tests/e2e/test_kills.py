"""A training that is killed and resumed ends with the weights and the average of one that was not."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.e2e.programs import ROOT

pytestmark = pytest.mark.slow


def test_killed_at_every_file_operation_and_at_random_moments() -> None:
    """In a process of its own: it forks, which one that has trained must not."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "WANDB_MODE": "offline"}
    done = subprocess.run(
        [sys.executable, "-m", "tests.kills", "--random", os.environ.get("KILLS", "20")],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=environment,
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert "file operations" in done.stdout
