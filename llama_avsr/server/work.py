"""One request at the desk, as the event loop sees it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from types import TracebackType

import anyio

from llama_avsr.server.desk import Desk, Event, Failed, Ready, Split, Ticket
from llama_avsr.server.errors import ApiError, refusal
from llama_avsr.server.form import Ask
from llama_avsr.server.uploads import Upload
from llama_avsr.transcription.batches import Job
from llama_avsr.transcription.pipeline import Prepared
from llama_avsr.transcription.transcript import Segment, Transcript


class Work:
    """Use it in an `async with` block; leaving gives the request up, if it has not been answered.

    seconds: from the beginning to the last word.
    """

    def __init__(self, desk: Desk, upload: Upload, ask: Ask, seconds: float) -> None:
        self._desk, self._upload, self._seconds = desk, upload, seconds
        loop, self._events = asyncio.get_running_loop(), asyncio.Queue[Event]()
        self._end = loop.time() + seconds

        def tell(event: Event) -> None:
            with contextlib.suppress(RuntimeError):  # the loop has ended: nobody waits
                loop.call_soon_threadsafe(self._events.put_nowait, event)

        self._ticket = Ticket(upload.path, ask.modality, ask.already_cropped, tell)
        self._prepared: Prepared | None = None
        self._segments: dict[Job, Segment] = {}
        self._line: list[Job] = []
        """Those that `segments` has not come to."""

    async def __aenter__(self) -> Work:
        self._desk.submit(self._ticket)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._desk.give_up(self._ticket)

    async def begin(self) -> Prepared:
        """Until the recording has been read. Raises ApiError for one that cannot be used."""
        event = await self._next()
        assert isinstance(event, Ready)
        self._prepared, self._line = event.prepared, list(event.prepared.jobs)
        return event.prepared

    async def segments(self) -> AsyncIterator[Segment]:
        """The recording's segments, in order, each as soon as it is there. Raises ApiError."""
        line = self._line
        while line:
            if line[0] in self._segments:
                yield self._segments[line.pop(0)]
                continue
            event = await self._next()
            if isinstance(event, Split):
                place = line.index(event.job)
                line[place : place + 1] = event.parts
            else:
                self._segments[event.job] = event.segment

    async def transcript(self) -> Transcript:
        """All of it."""
        async for _ in self.segments():
            pass
        return self._desk.transcriber.finish(self._prepared, list(self._segments.values()))

    async def _next(self) -> Event:
        """Raises ApiError: 503 where it takes too long."""
        try:
            with anyio.fail_after(max(0.0, self._end - asyncio.get_running_loop().time())):
                event = await self._events.get()
        except TimeoutError:
            raise ApiError(
                503,
                f"no answer within {self._seconds:g} s: the server is busy, or the recording long",
                kind="server_error",
                code="timeout",
            ) from None
        if isinstance(event, Failed):
            raise refusal(event.error, self._upload.path, self._upload.name)
        return event
