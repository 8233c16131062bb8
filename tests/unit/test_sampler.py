"""Invariants of the batch samplers: none lost, none twice, budget kept, ranks equal, order by the seed."""

import numpy as np
import pytest

from datamodules.sampler import BucketBatchSampler, EvalBatchSampler

MAX_FRAMES = 1000
RNG = np.random.default_rng(0)
LENGTHS = {
    "speech": np.clip(RNG.lognormal(4.6, 0.7, 700), 12, 600).astype(int).tolist(),
    "equal": [48] * 333,
    "single": [MAX_FRAMES - i for i in range(37)],
    "few": [100, 20, 20, 900, 50],
    "two_kinds": [30] * 50 + [990] * 3,
}


def all_ranks(lengths, world_size, epoch=0, **options):
    samplers = [
        BucketBatchSampler(lengths, MAX_FRAMES, rank=rank, world_size=world_size, **options)
        for rank in range(world_size)
    ]
    for sampler in samplers:
        sampler.set_epoch(epoch)
    return [list(sampler) for sampler in samplers]


def indices(ranks):
    return [index for batches in ranks for batch in batches for _, index in batch]


def assert_budget(ranks, lengths):
    for batches in ranks:
        for batch in batches:
            longest = max(lengths[index] for _, index in batch)
            assert len(batch) * longest <= MAX_FRAMES or len(batch) == 1


@pytest.mark.parametrize("name", LENGTHS)
@pytest.mark.parametrize("world_size", [1, 2, 5])
@pytest.mark.parametrize("num_buckets", [1, 7, 400])
def test_each_clip_once_in_equal_ranks_within_the_budget(name, world_size, num_buckets):
    lengths = LENGTHS[name]
    num_batches = set()
    for epoch in range(3):
        ranks = all_ranks(lengths, world_size, epoch, num_buckets=num_buckets, seed=3)
        found = indices(ranks)
        assert len(found) == len(set(found)), "none twice"
        all_single = all(len(batch) == 1 for batches in ranks for batch in batches)
        assert len(found) >= len(lengths) - (world_size - 1 if all_single else 0), "none lost"
        assert_budget(ranks, lengths)
        assert all(epoch == item[0] for batches in ranks for batch in batches for item in batch)
        num_batches |= {len(batches) for batches in ranks}
    sampler = BucketBatchSampler(lengths, MAX_FRAMES, num_buckets, seed=3, world_size=world_size)
    assert num_batches == {len(sampler)}


def test_clips_left_out_take_turns():
    lengths = LENGTHS["single"]
    missing = [set(range(37)) - set(indices(all_ranks(lengths, 5, epoch))) for epoch in range(4)]
    assert [len(left_out) for left_out in missing] == [2] * 4
    assert len(set.union(*missing)) > 2


def test_padding_is_small():
    lengths = LENGTHS["speech"]
    [batches] = all_ranks(lengths, 1, num_buckets=400)
    padded = sum(len(batch) * max(lengths[index] for _, index in batch) for batch in batches)
    assert 1 - sum(lengths) / padded < 0.1
    assert len(batches) < 1.25 * sum(lengths) / MAX_FRAMES, "the budget is used"


def test_order_is_a_function_of_seed_and_epoch():
    lengths = LENGTHS["speech"]
    first = all_ranks(lengths, 2, 0, seed=1)
    assert first == all_ranks(lengths, 2, 0, seed=1)
    assert first != all_ranks(lengths, 2, 0, seed=2)
    later = all_ranks(lengths, 2, 1, seed=1)

    def compositions(ranks):
        return {frozenset(index for _, index in batch) for batches in ranks for batch in batches}

    kept = compositions(first) & compositions(later)
    assert len(kept) < 0.2 * len(compositions(first)), "batches are dealt anew, not only reordered"


def test_shuffling_can_be_switched_off():
    [one] = all_ranks(LENGTHS["speech"], 1, 0, shuffle=False)
    [two] = all_ranks(LENGTHS["speech"], 1, 1, shuffle=False)
    assert [[i for _, i in batch] for batch in one] == [[i for _, i in batch] for batch in two]


def test_resume_yields_what_was_left():
    lengths = LENGTHS["speech"]
    sampler = BucketBatchSampler(lengths, MAX_FRAMES, seed=1)
    sampler.set_epoch(2)
    whole = list(sampler)
    resumed = BucketBatchSampler(lengths, MAX_FRAMES, seed=1)
    resumed.resume(2, 9)
    assert len(resumed) == len(whole)
    assert list(resumed) == whole[9:]
    resumed.set_epoch(2)
    assert list(resumed) == whole[9:], "announcing the same epoch changes nothing"
    sampler.set_epoch(3)
    resumed.set_epoch(3)
    assert list(resumed) == list(sampler)
    resumed.resume(2, len(whole))
    assert list(resumed) == []
    with pytest.raises(ValueError, match="cannot start at batch"):
        resumed.resume(2, len(whole) + 1)


def test_the_epoch_is_that_of_the_call():
    sampler = BucketBatchSampler(LENGTHS["speech"], MAX_FRAMES)
    iterator = iter(sampler)
    sampler.set_epoch(5)
    assert next(iterator)[0][0] == 0


def test_what_cannot_be_batched():
    with pytest.raises(ValueError, match="the longest clip has 1001 frames, more than the 1000 of a batch"):
        BucketBatchSampler([10, 1001], MAX_FRAMES)
    with pytest.raises(ValueError, match="2 clips cannot be shared by 3 processes"):
        BucketBatchSampler([10, 10], MAX_FRAMES, world_size=3)


@pytest.mark.parametrize("name", LENGTHS)
@pytest.mark.parametrize("world_size", [1, 2, 7])
def test_evaluation_takes_each_clip_exactly_once(name, world_size):
    lengths = [*LENGTHS[name], MAX_FRAMES + 500]
    ranks = [list(EvalBatchSampler(lengths, MAX_FRAMES, rank, world_size)) for rank in range(world_size)]
    assert sorted(indices(ranks)) == list(range(len(lengths)))
    assert_budget(ranks, lengths)
    counts = [len(batches) for batches in ranks]
    assert max(counts) - min(counts) <= 1
    if len(lengths) > 10 * world_size and name != "single":
        assert max(counts) == min(counts)
    longest = [max(lengths[index] for _, index in batch) for batch in ranks[0]]
    assert longest == sorted(longest, reverse=True)


def test_evaluation_of_nothing():
    assert list(EvalBatchSampler([], MAX_FRAMES)) == []
    assert [len(EvalBatchSampler([5], MAX_FRAMES, rank, 2)) for rank in range(2)] == [1, 0]
