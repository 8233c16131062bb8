"""What the loader tells of the order of batches."""

from datamodules.loader import ClipLoader
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
    assert "different batches" in caplog.text
