"""Which clips make up which batch. Samplers see lengths only, never files.

The budget counts what a batch costs: its number of clips times its longest clip. An item handed to the data
set is `(epoch, index)`, so that loader workers that outlive an epoch know which one it is.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch.utils.data import Sampler

from datamodules.seeding import generator

Item = tuple[int, int]
"""(epoch, index of the utterance)."""
MIN_BATCHES_PER_BUCKET = 4
"""Fewer, and shuffling inside a bucket would hardly change its batches."""
MIN_BUCKET_FILL = 0.8
"""A bucket ends where clips get shorter than this share of its longest: they would be mostly padding."""


@dataclass(frozen=True)
class _Bucket:
    """Clips of like length, and the sizes of the batches they are dealt into (their sum is all clips)."""

    indices: list[int]
    sizes: list[int]


class BucketBatchSampler(Sampler[list[Item]]):
    """Batches of clips of like length within a frame budget, dealt anew every epoch.

    Clips are sorted by length and divided into buckets, about `num_buckets` of them: fewer where they would
    hold few batches, more where their clips would be too unlike. Each epoch shuffles the clips inside every
    bucket, deals them into batches and shuffles the batches, as a function of (seed, epoch) alone. The number
    of batches is the same in every epoch (Lightning asks for it once).

    Ranks: batches of like length are taken by all ranks in the same step, so that nobody waits long. Every
    rank gets the same number: where the batches do not divide, the largest are split in two. No clip is taken
    twice, and none left out but in one case: where all batches hold a single clip already, up to
    world_size - 1 clips, drawn by (seed, epoch), miss an epoch.

    Resume: after `resume(epoch, start_batch)` that epoch yields only the batches from `start_batch` on. The
    length stays that of a whole epoch, which is how Lightning counts.
    """

    def __init__(
        self,
        lengths: Sequence[int],
        max_frames: int,
        num_buckets: int = 400,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
        shuffle: bool = True,
        max_clips: int | None = None,
    ) -> None:
        if max(lengths, default=0) > max_frames:
            raise ValueError(
                f"the longest clip has {max(lengths)} frames, more than the {max_frames} of a batch; "
                "leave it out or raise the budget"
            )
        if len(lengths) < world_size:
            raise ValueError(
                f"{len(lengths)} clips cannot be shared by {world_size} processes; expected more"
            )
        if num_buckets < 1:
            raise ValueError(f"expected at least 1 bucket, found {num_buckets}")
        self.seed, self.rank, self.world_size, self.shuffle = seed, rank, world_size, shuffle
        self.epoch = 0
        self._start_batch = 0
        self._buckets = _split_for_ranks(
            _make_buckets(lengths, max_frames, num_buckets, max_clips), world_size
        )
        self._num_batches = sum(len(bucket.sizes) for bucket in self._buckets) // world_size

    def __len__(self) -> int:
        """Batches of a whole epoch on this rank."""
        return self._num_batches

    @property
    def state(self) -> dict[str, int]:
        """What decides the order of batches."""
        return {"seed": self.seed, "num_batches": len(self), "world_size": self.world_size}

    def set_epoch(self, epoch: int) -> None:
        if epoch != self.epoch:
            self.epoch, self._start_batch = epoch, 0

    def resume(self, epoch: int, start_batch: int) -> None:
        """Leave out the first `start_batch` batches of `epoch`, which were trained on before."""
        if not 0 <= start_batch <= len(self):
            raise ValueError(f"cannot start at batch {start_batch} of an epoch of {len(self)}")
        self.epoch, self._start_batch = epoch, start_batch

    def __iter__(self) -> Iterator[list[Item]]:
        # No generator function: the epoch that counts is that of the call, not of the first batch fetched.
        epoch, batches = self.epoch, self._batches_of_rank()[self._start_batch :]
        return iter([[(epoch, index) for index in batch] for batch in batches])

    def _batches_of_rank(self) -> list[list[int]]:
        rng = generator(self.seed, self.epoch, "batches")

        def permutation(n: int) -> list[int]:
            return torch.randperm(n, generator=rng).tolist() if self.shuffle else list(range(n))

        batches = []
        for bucket in self._buckets:
            order = [bucket.indices[i] for i in permutation(len(bucket.indices))]
            batches += _deal(order, bucket.sizes)
        num_kept = self._num_batches * self.world_size
        if num_kept < len(batches):
            batches = [batches[i] for i in sorted(permutation(len(batches))[:num_kept])]
        steps = [batches[i : i + self.world_size] for i in range(0, num_kept, self.world_size)]
        return [steps[i][permutation(self.world_size)[self.rank]] for i in permutation(len(steps))]


class EvalBatchSampler(Sampler[list[Item]]):
    """Every clip exactly once over all ranks, longest first, in batches within the frame budget.

    A clip longer than the budget gets a batch of its own. The largest batches are split in two until they
    divide among the ranks; only where all hold a single clip, some ranks have one batch less.
    """

    def __init__(
        self,
        lengths: Sequence[int],
        max_frames: int,
        rank: int = 0,
        world_size: int = 1,
        max_clips: int | None = None,
    ) -> None:
        order = _longest_first(lengths)
        sizes = []
        start = 0
        while start < len(order):
            size = max(1, max_frames // lengths[order[start]])
            sizes.append(min(size, max_clips or size, len(order) - start))
            start += sizes[-1]
        if order:
            [bucket] = _split_for_ranks([_Bucket(order, sizes)], world_size)
            sizes = bucket.sizes
        self.world_size = world_size
        self._batches = _deal(order, sizes)[rank::world_size]

    def __len__(self) -> int:
        return len(self._batches)

    @property
    def state(self) -> dict[str, int]:
        """What decides the order of batches: nothing is drawn."""
        return {"num_batches": len(self), "world_size": self.world_size}

    def __iter__(self) -> Iterator[list[Item]]:
        return iter([[(0, index) for index in batch] for batch in self._batches])


def _longest_first(lengths: Sequence[int]) -> list[int]:
    return sorted(range(len(lengths)), key=lambda index: (-lengths[index], index))


def _make_buckets(
    lengths: Sequence[int], max_frames: int, num_buckets: int, max_clips: int | None
) -> list[_Bucket]:
    """At most about `num_buckets` buckets of whole batches, from the longest clips to the shortest."""
    order = _longest_first(lengths)
    num_batches = max(
        math.ceil(sum(lengths) / max_frames), math.ceil(len(lengths) / (max_clips or len(lengths)))
    )
    batches_per_bucket = max(MIN_BATCHES_PER_BUCKET, math.ceil(num_batches / num_buckets))
    buckets = []
    start = 0
    while start < len(order):
        longest = lengths[order[start]]
        size = min(max_frames // longest, max_clips or len(lengths))
        sizes: list[int] = []
        end = start
        while end < len(order) and len(sizes) < batches_per_bucket:
            if sizes and lengths[order[end]] < MIN_BUCKET_FILL * longest:
                break
            sizes.append(min(size, len(order) - end))
            end += sizes[-1]
        buckets.append(_Bucket(order[start:end], sizes))
        start = end
    return buckets


def _split_for_ranks(buckets: list[_Bucket], world_size: int) -> list[_Bucket]:
    """Halve the largest batches until their number divides by `world_size`, or all hold one clip."""
    heap = [(-size, b, i) for b, bucket in enumerate(buckets) for i, size in enumerate(bucket.sizes)]
    heapq.heapify(heap)
    parts = [[[size] for size in bucket.sizes] for bucket in buckets]
    num_missing = -len(heap) % world_size
    while num_missing and -heap[0][0] > 1:
        size, b, i = heapq.heappop(heap)
        size = -size
        parts[b][i].remove(size)
        for half in (math.ceil(size / 2), size // 2):
            parts[b][i].append(half)
            heapq.heappush(heap, (-half, b, i))
        num_missing -= 1
    return [
        _Bucket(bucket.indices, [size for sizes in parts[b] for size in sizes])
        for b, bucket in enumerate(buckets)
    ]


def _deal(order: Sequence[int], sizes: Sequence[int]) -> list[list[int]]:
    batches = []
    start = 0
    for size in sizes:
        batches.append(list(order[start : start + size]))
        start += size
    return batches
