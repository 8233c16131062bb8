"""The loader: batches from workers, with an eye on clips that could not be read."""

from __future__ import annotations

import itertools
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from multiprocessing.reduction import ForkingPickler

import numpy as np
import torch
from torch.utils.data import DataLoader

from datamodules.batch import Batch, Example, TextIds
from datamodules.collate import collate
from datamodules.dataset import BrokenClip, ClipDataset
from datamodules.media import MediaError
from datamodules.sampler import BucketBatchSampler, EvalBatchSampler

log = logging.getLogger(__name__)

STUCK_SECONDS = 600.0
"""A batch that has not come by then never will: a disk hangs, or a process is stopped."""
MAX_BROKEN_SHARE = 0.01
"""Of an epoch's clips on one rank; more, and the data set needs mending rather than training on."""


MAX_NAMED = 5
"""Clips in a message."""


@dataclass(frozen=True)
class _Delivery:
    """What a worker sends: a batch, None where every clip was broken, and notes of the broken ones."""

    batch: Batch | None
    broken: list[BrokenClip] = field(default_factory=list)

    def pin_memory(self) -> _Delivery:
        return _Delivery(self.batch and self.batch.pin_memory(), self.broken)


def _text_ids(*arrays: np.ndarray) -> TextIds:
    prefix, suffix, target = (torch.from_numpy(array) for array in arrays)
    return TextIds(prefix=prefix, suffix=suffix, target=target)


# A tensor passed between processes holds a file descriptor; three for each clip exhaust the usual 1024.
ForkingPickler.register(
    TextIds, lambda ids: (_text_ids, (ids.prefix.numpy(), ids.suffix.numpy(), ids.target.numpy()))
)


def _deliver(clips: Sequence[Example | BrokenClip]) -> _Delivery:
    broken = [clip for clip in clips if isinstance(clip, BrokenClip)]
    examples = [clip for clip in clips if isinstance(clip, Example)]
    return _Delivery(collate(examples) if examples else None, broken)


def _start_worker(worker_id: int) -> None:
    torch.set_num_threads(1)


class ClipLoader(DataLoader):
    """Yields `Batch`es in the sampler's order.

    num_broken_allowed: broken clips an epoch may have. They are left out, each with a warning that counts
        them; one more is an error. 0 makes the first one an error, as evaluation needs it.
    position: asked for (epoch, first batch) as the first batch is fetched; None leaves that to the sampler.

    Iterating raises MediaError, naming label line and file, for a broken clip too many.
    """

    def __init__(
        self,
        dataset: ClipDataset,
        batch_sampler: BucketBatchSampler | EvalBatchSampler,
        num_broken_allowed: int = 0,
        num_workers: int = 0,
        prefetch_factor: int = 2,
        pin_memory: bool = False,
        persistent_workers: bool = False,
        position: Callable[[], tuple[int, int]] | None = None,
    ) -> None:
        super().__init__(
            dataset,
            batch_sampler=batch_sampler,
            collate_fn=_deliver,
            num_workers=num_workers,
            prefetch_factor=prefetch_factor if num_workers else None,
            persistent_workers=persistent_workers and num_workers > 0,
            pin_memory=pin_memory,
            worker_init_fn=_start_worker,
            timeout=STUCK_SECONDS if num_workers else 0,
        )
        self.num_broken_allowed = num_broken_allowed
        self.num_broken = 0
        self.position = position

    def __iter__(self) -> Iterator[Batch]:
        # All of this waits for the first batch to be asked for. Lightning makes iterators early, some before
        # it has restored the checkpoint that says where to go on.
        self.num_broken = 0
        if self.position is not None:
            self.batch_sampler.resume(*self.position())
        for delivery in self._watched(super().__iter__()):
            for clip in delivery.broken:
                self._count(clip)
            if delivery.batch is None:
                raise MediaError(f"{len(delivery.broken)} clips in a row cannot be read; the last: {clip}")
            yield delivery.batch

    def _watched(self, deliveries: Iterator[_Delivery]) -> Iterator[_Delivery]:
        """Raises MediaError, with the names of the clips, where a batch never comes."""
        for count in itertools.count():
            start = time.monotonic()
            try:
                delivery = next(deliveries)
            except StopIteration:
                return
            except RuntimeError as error:
                if not self.num_workers or time.monotonic() - start < self.timeout:
                    raise
                # Not asked to end: a stopped process would not hear it, and leaving would wait for it.
                for worker in getattr(deliveries, "_workers", ()):
                    worker.kill()
                raise MediaError(self._stuck(count)) from error
            yield delivery

    def _stuck(self, count: int) -> str:
        # The order is a function of the epoch: asking again changes nothing.
        batch = next(itertools.islice(iter(self.batch_sampler), count, None))
        clips = [str(self.dataset.utterances[index].source) for _, index in batch]
        return (
            f"no batch came for {self.timeout:g} s: a worker is stopped, or waits for one of these clips: "
            f"{', '.join(clips[:MAX_NAMED])}{', ...' if len(clips) > MAX_NAMED else ''}"
        )

    def _count(self, clip: BrokenClip) -> None:
        self.num_broken += 1
        if self.num_broken_allowed == 0:
            raise MediaError(f"{clip}; evaluation needs every clip, mend it or remove its line")
        if self.num_broken > self.num_broken_allowed:
            raise MediaError(
                f"{self.num_broken} broken clips in this epoch, expected at most {self.num_broken_allowed} "
                f"({MAX_BROKEN_SHARE:.0%}); the last: {clip}; mend the data set or remove these lines"
            )
        log.warning(
            "left out a broken clip (%d in this epoch, at most %d): %s",
            self.num_broken,
            self.num_broken_allowed,
            clip,
        )

    def state_dict(self) -> dict[str, int]:
        """What decides the order of batches; Lightning keeps it beside its own count of them."""
        return self.batch_sampler.state

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        """Warn where a run goes on in the middle of an epoch whose batches are others than before."""
        own = self.state_dict()
        if own != state_dict:
            log.warning(
                "the checkpoint was made in the middle of an epoch of other batches (%s, now %s): some clips "
                "of this epoch will be seen twice and some not at all",
                state_dict,
                own,
            )
