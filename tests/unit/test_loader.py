"""What the loader tells of the order of batches."""

import os
import signal
from types import SimpleNamespace

import pytest

from datamodules import loader as loading
from datamodules.loader import ClipLoader
from datamodules.media import MediaError
from datamodules.sampler import BucketBatchSampler, EvalBatchSampler


def test_state_of_both_samplers(caplog):
    lengths = [10, 20, 30]
    training = ClipLoader([], BucketBatchSampler(lengths, 60, seed=3))
    assert training.state_dict() == {"seed": 3, "num_batches": len(training), "world_size": 1}
    evaluation = ClipLoader([], EvalBatchSampler(lengths, 30, rank=1, world_size=2))
    assert evaluation.state_dict() == {"num_batches": len(evaluation), "world_size": 2}
    for loader in (training, evaluation):
        loader.load_state_dict(loader.state_dict())
    assert not caplog.records
    evaluation.load_state_dict({"num_batches": 7, "world_size": 2})
    assert "other batches" in caplog.text


class Stopping:
    """A data set whose worker stops, as one does whose disk hangs."""

    utterances = tuple(SimpleNamespace(source=f"train.csv:{line}") for line in range(1, 4))

    def __len__(self):
        return 3

    def __getitems__(self, items):
        os.kill(os.getpid(), signal.SIGSTOP)


def test_a_worker_that_is_stopped_is_told_with_its_clips(monkeypatch):
    monkeypatch.setattr(loading, "STUCK_SECONDS", 1.0)
    loader = ClipLoader(Stopping(), EvalBatchSampler([10, 30, 20], 30), num_workers=1)
    with pytest.raises(MediaError, match=r"train\.csv:2$"):
        next(iter(loader))
