"""The loader: batches from workers, with an eye on clips that could not be read."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from multiprocessing.reduction import ForkingPickler
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader

from datamodules.batch import Batch, Example, TextIds
from datamodules.collate import collate
from datamodules.dataset import BrokenClip, ClipDataset
from datamodules.media import MediaError
from datamodules.sampler import BucketBatchSampler, EvalBatchSampler, Item
from datamodules.workers import AtWork, Watchdog, begin_worker, is_loss_of_worker, keeping_child_handler

log = logging.getLogger(__name__)

MAX_NAMED = 3
"""Clips in a message."""
MAX_BROKEN_SHARE = 0.01
"""Of an epoch's clips on one rank; more, and the data set should be fixed before training on it."""


MAX_NAMED = 5
"""Clips in a message."""


@dataclass(frozen=True)
class _Delivery:
    """What a worker sends: a batch, None where every clip was broken, and notes of the broken ones."""

    batch: Batch | None
    broken: list[BrokenClip] = field(default_factory=list)

    def pin_memory(self) -> _Delivery:
        return _Delivery(self.batch and self.batch.pin_memory(), self.broken)


def _text_ids(by_task: dict[str, TextIds], *arrays: np.ndarray) -> TextIds:
    prefix, suffix, target = (torch.from_numpy(array) for array in arrays)
    return TextIds(prefix=prefix, suffix=suffix, target=target, by_task=by_task)


# A tensor passed between processes holds a file descriptor; three for each clip exhaust the usual 1024.
ForkingPickler.register(
    TextIds,
    lambda ids: (_text_ids, (ids.by_task, ids.prefix.numpy(), ids.suffix.numpy(), ids.target.numpy())),
)


def _deliver(clips: Sequence[Example | BrokenClip]) -> _Delivery:
    broken = [clip for clip in clips if isinstance(clip, BrokenClip)]
    examples = [clip for clip in clips if isinstance(clip, Example)]
    return _Delivery(collate(examples) if examples else None, broken)


class _Noted:
    """A sampler that notes what it gives away."""

    def __init__(self, sampler: Any, asked: list[Sequence[Item]]) -> None:
        self.sampler, self.asked = sampler, asked

    def __len__(self) -> int:
        return len(self.sampler)

    def __iter__(self) -> Iterator[Sequence[Item]]:
        for batch in self.sampler:
            self.asked.append(batch)
            yield batch


class ClipLoader(DataLoader):
    """Yields `Batch`es in the sampler's order.

    num_broken_allowed: broken clips an epoch may have. They are left out, each with a warning that counts
        them; one more is an error. 0 makes the first one an error, as evaluation needs it.
    position: asked for (epoch, first batch) as the first batch is fetched; None leaves that to the sampler.

    Iterating raises MediaError, naming label line and file, for a broken clip too many, and for one whose
    worker dies or stands still over it.
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
            worker_init_fn=partial(begin_worker, at_work := AtWork(num_workers)),
        )
        self._at_work = at_work
        self._asked: list[Sequence[Item]] = []
        self.num_broken_allowed = num_broken_allowed
        self.num_broken = 0
        self.position = position

    def __iter__(self) -> Iterator[Batch]:
        # All of this waits for the first batch to be asked for. Lightning makes iterators early, some before
        # it has restored the checkpoint that says where to go on.
        self.num_broken = 0
        if self.position is not None:
            self.batch_sampler.resume(*self.position())
        for delivery in self._deliveries():
            for clip in delivery.broken:
                self._count(clip)
            if delivery.batch is None:
                raise MediaError(f"{len(delivery.broken)} clips in a row cannot be read; the last: {clip}")
            yield delivery.batch

    def _deliveries(self) -> Iterator[_Delivery]:
        """What the workers send; raises MediaError where one of them dies or stands still."""
        self._asked = []
        received = 0
        # Workers that stay are asked for a sign of life before the first batch.
        with Watchdog(self._at_work, getattr(self._iterator, "_workers", ())) as watchdog:
            try:
                with watchdog.waiting(), keeping_child_handler():
                    iterator = super().__iter__()
                watchdog.workers = getattr(iterator, "_workers", ())
                while True:
                    with watchdog.waiting():
                        delivery = next(iterator, None)
                    if delivery is None:
                        return
                    received += 1
                    yield delivery
            except (RuntimeError, EOFError, OSError) as error:
                if not is_loss_of_worker(error, watchdog.workers):
                    raise
                raise MediaError(self._lost(watchdog, received, error)) from None

    def _lost(self, watchdog: Watchdog, received: int, error: Exception) -> str:
        clips = watchdog.clips or watchdog.clips_of_the_dead()
        clips = clips or [index for asked in self._asked[received : received + 1] for _, index in asked]
        names = ", ".join(str(self.dataset.utterances[index].source) for index in clips[:MAX_NAMED])
        if not clips:
            names = f"{self.dataset.utterances[0].position[0]}: between two epochs"
        if watchdog.reason:
            return f"{names}: {watchdog.reason}; look at this clip's files and at the disk that they are on"
        return (
            f"{names}: the process that was reading it died ({' '.join(str(error).split())}), possibly out "
            "of memory (RAM or /dev/shm): use fewer --num-workers"
        )

    @property
    def _index_sampler(self) -> Any:
        """The sampler, with an ear to what is asked of the workers."""
        return _Noted(super()._index_sampler, self._asked)

    def _count(self, clip: BrokenClip) -> None:
        self.num_broken += 1
        if self.num_broken_allowed == 0:
            raise MediaError(f"{clip}; evaluation needs every clip, fix it or remove its line")
        if self.num_broken > self.num_broken_allowed:
            raise MediaError(
                f"{self.num_broken} broken clips in this epoch, expected at most {self.num_broken_allowed} "
                f"({MAX_BROKEN_SHARE:.0%}); the last: {clip}; fix the data set or remove these lines"
            )
        log.warning(
            "skipped a broken clip (%d in this epoch, at most %d): %s",
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
                "the checkpoint was made in the middle of an epoch with different batches (%s, now %s): some "
                "clips of this epoch will be seen twice and some not at all",
                state_dict,
                own,
            )
