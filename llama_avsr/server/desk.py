"""Where requests meet the model: some threads read recordings, one runs the model, for several requests at a
time where pieces of theirs are alike.

A request's pieces take turns with those of the others: a short recording does not wait for a long one that
came before it.
"""

from __future__ import annotations

import itertools
import logging
import math
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from datamodules.batch import VIDEO_FPS
from datamodules.media.headers import packet_seconds
from llama_avsr.transcription.batches import Job, grouped
from llama_avsr.transcription.pipeline import Prepared, Transcriber
from llama_avsr.transcription.transcript import Segment

LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True)
class Ready:
    """The recording has been read."""

    prepared: Prepared


@dataclass(frozen=True)
class Written:
    """One of its pieces has been written down."""

    job: Job
    segment: Segment


@dataclass(frozen=True)
class Split:
    """The model did nothing but repeat itself in a piece: parts of it follow in its place, or nothing."""

    job: Job
    parts: Sequence[Job]


@dataclass(frozen=True)
class Failed:
    """Nothing more will come."""

    error: Exception


Event = Ready | Written | Split | Failed


class GivenUpError(Exception):
    """Nobody waits for it any more."""


@dataclass(eq=False)
class Ticket:
    """A request at the desk."""

    path: Path
    modality: str | None
    already_cropped: bool | None
    tell: Callable[[Event], None]
    """Called in the desk's threads."""
    given_up: threading.Event = field(default_factory=threading.Event)

    def alive(self, *_: object) -> None:
        """Raises GivenUpError; called while faces are looked for."""
        if self.given_up.is_set():
            raise GivenUpError


@dataclass(frozen=True, eq=False)
class _Waiting:
    """A piece that the model has not seen yet."""

    turn: int
    order: int
    """Of its coming."""
    ticket: Ticket


class Desk:
    """Use it in a `with` block.

    readers: threads that read recordings. max_seconds: the longest recording.
    observe: told of every pass of the model, how many pieces of how many requests it took.
    """

    def __init__(
        self,
        transcriber: Transcriber,
        readers: int = 2,
        max_seconds: float = math.inf,
        observe: Callable[[int, int], None] = lambda pieces, requests: None,
    ) -> None:
        self.transcriber = transcriber
        self._observe = observe
        self._max_seconds = max_seconds
        self._readers = ThreadPoolExecutor(readers, thread_name_prefix="reader")
        self._model = threading.Thread(target=self._write, name="model", daemon=True)
        self._changed = threading.Condition()
        self._waiting: dict[Job, _Waiting] = {}
        self._orders = itertools.count()
        self._turn = 0
        """Of the piece that was taken last."""
        self._closed = False

    def __enter__(self) -> Desk:
        self._model.start()
        return self

    def __exit__(self, *_: object) -> None:
        """What still waits is dropped; a pass of the model that has begun is waited for."""
        with self._changed:
            self._closed = True
            for waiting in self._waiting.values():
                waiting.ticket.given_up.set()
            self._waiting.clear()
            self._changed.notify_all()
        self._readers.shutdown(cancel_futures=True)
        self._model.join()

    def submit(self, ticket: Ticket) -> None:
        """`ticket.tell` hears Ready, then Written or Split for each piece, in any order; or at some point
        Failed."""
        self._readers.submit(self._read, ticket)

    def give_up(self, ticket: Ticket) -> None:
        """Nobody waits for a request any more: its pieces leave."""
        ticket.given_up.set()
        with self._changed:
            self._waiting = {job: one for job, one in self._waiting.items() if one.ticket is not ticket}

    @property
    def num_waiting(self) -> int:
        """Pieces that the model has not seen yet."""
        return len(self._waiting)

    def _read(self, ticket: Ticket) -> None:
        try:
            ticket.alive()
            # A header may say nothing, or anything.
            self._check_length(ticket.path, packet_seconds(ticket.path))
            prepared = self.transcriber.prepare(
                ticket.path,
                modality=ticket.modality,
                already_cropped=ticket.already_cropped,
                progress=ticket.alive,
            )
            self._check_length(ticket.path, prepared.recording.num_frames / VIDEO_FPS)
            ticket.alive()
        except GivenUpError:
            return
        except Exception as error:
            ticket.tell(Failed(error))
            return
        self._line_up(ticket, prepared)

    def _check_length(self, path: Path, seconds: float) -> None:
        if seconds > self._max_seconds:
            raise ValueError(
                f"{path}: found {seconds:.1f} s, expected at most {self._max_seconds:g} s; cut it"
            )

    def _line_up(self, ticket: Ticket, prepared: Prepared) -> None:
        with self._changed:
            if self._closed or ticket.given_up.is_set():
                return
            ticket.tell(Ready(prepared))  # before the model can take the first piece
            for index, job in enumerate(prepared.jobs):
                self._waiting[job] = _Waiting(self._turn + index, next(self._orders), ticket)
            self._changed.notify_all()

    def _write(self) -> None:
        """The model's thread."""
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._closed)
                if self._closed:
                    return
                group = self._next_group()
            self._decode(group)

    def _next_group(self) -> list[tuple[Job, _Waiting]]:
        """The piece whose turn it is, and those that fit into one batch with it."""
        first = min(self._waiting, key=lambda job: (self._waiting[job].turn, self._waiting[job].order))
        self._turn = self._waiting[first].turn
        groups = grouped(list(self._waiting), self.transcriber.trained.max_batch_frames)
        chosen = next(group for group in groups if first in group)
        return [(job, self._waiting.pop(job)) for job in chosen]

    def _decode(self, group: Sequence[tuple[Job, _Waiting]]) -> None:
        self._observe(len(group), len({waiting.ticket for _, waiting in group}))
        try:
            segments = self.transcriber.decode([job for job, _ in group])
        except Exception as error:
            if len(group) > 1:
                # One of them is at fault, or together they are too large.
                LOGGER.warning("%d pieces could not be decoded together: %s", len(group), error)
                for one in group:
                    self._decode([one])
            else:
                self.give_up(group[0][1].ticket)
                group[0][1].ticket.tell(Failed(error))
            return
        for (job, waiting), segment in zip(group, segments, strict=True):
            if segment is None:
                self._split(job, waiting)
            else:
                waiting.ticket.tell(Written(job, segment))

    def _split(self, job: Job, waiting: _Waiting) -> None:
        parts = job.halves()
        with self._changed:
            if self._closed or waiting.ticket.given_up.is_set():
                return
            waiting.ticket.tell(Split(job, parts))
            self._waiting.update((part, waiting) for part in parts)
