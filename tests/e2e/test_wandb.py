"""A run with --project-wandb and no network: recorded offline, and it says how to upload."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests import models
from tests.e2e import data_set
from tests.e2e.programs import run, train_flags

pytestmark = pytest.mark.slow


def test_offline_run(tmp_path: Path) -> None:
    made = models.folders(tmp_path / "models")
    data = data_set.make(tmp_path / "data", num_train=6, num_test=3)
    flags = train_flags(data, tmp_path / "runs", made, "audiovisual", project_wandb="demo", max_epochs=1)
    done = run("train_LLM.py", *flags, "--num-average-epochs", 1)
    assert "wandb sync" in done.stderr
    (recording,) = (tmp_path / "runs" / "audiovisual" / "wandb").glob("offline-run-*/run-*.wandb")
    assert recording.stat().st_size > 1000
    content = recording.read_bytes()
    for logged in (b"train/loss", b"val/loss", b"samples", b"test/wer"):
        assert logged in content, logged
    staged = [path.read_bytes() for path in recording.parents[1].rglob("staging/*")]
    (table,) = [json.loads(content) for content in staged if content.startswith(b'{"_type": "table"')]
    rows = [dict(zip(table["columns"], row, strict=True)) for row in table["data"]]
    assert len(rows) == 3
    assert {row["reference"] for row in rows} <= set(data_set.TEXTS)
    assert {(row["audio"]["_type"], row["mouth"]["_type"]) for row in rows} == {("audio-file", "video-file")}
    assert sum(content.startswith(b"RIFF") for content in staged) == 3
    assert sum(content[4:8] == b"ftyp" for content in staged) == 3
    assert (tmp_path / "runs" / "audiovisual" / "metrics.csv").is_file()
