"""A training that is killed and resumed ends with the weights and the average of one that was not."""

from __future__ import annotations

import os

import pytest

from tests.e2e.programs import environment, run_warm

pytestmark = pytest.mark.slow
PATIENCE_SECONDS = 3000


def test_killed_at_each_kind_of_file_operation_and_at_random_moments() -> None:
    """In a process of its own: it forks, which one that has trained must not."""
    words = ["-m", "tests.kills", "--kinds", "--random", os.environ.get("KILLS", "4")]
    _, done = run_warm(words, environment(), PATIENCE_SECONDS)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert "file operations" in done.stdout
