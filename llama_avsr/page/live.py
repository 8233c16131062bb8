"""Live captions on the page: a browser sends pieces of its recording and gets the words so far.

POST /live/ID?kind=webm&cropped=0&last=0      body: the next piece
-> {"fixed": ["a line", ...], "partial": "words that may change", "ended": false, "error": ""}
"""

from __future__ import annotations

import asyncio
import logging
import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llama_avsr.faults import explain
from llama_avsr.live.clock import RealClock
from llama_avsr.live.running import run
from llama_avsr.live.starting import Pace, feed_of, live_of, wants_picture
from llama_avsr.live.upload import Upload
from llama_avsr.transcription.pipeline import Transcriber

if TYPE_CHECKING:
    from fastapi import FastAPI, Request

LOGGER = logging.getLogger(__name__)
HEAD = f"<script>{(Path(__file__).parent / 'live.js').read_text(encoding='utf-8')}</script>"
"""For the page's head."""
MAX_VISITS = 4
"""Recordings at one time; each costs the model's time."""
MAX_SECONDS = 3600.0
MAX_PIECE_BYTES = 8 * 2**20
IDLE_SECONDS = 30.0
"""A browser that sends nothing for so long is gone."""
ID = re.compile(r"[0-9a-f-]{8,64}")


@dataclass
class Captions:
    """What a visitor is shown."""

    fixed: list[list[str]]
    """Lines, each of words."""
    partial: str = ""
    ended: bool = False
    error: str = ""

    def as_json(self) -> dict[str, Any]:
        lines = [" ".join(line) for line in self.fixed if line]
        return {"fixed": lines, "partial": self.partial, "ended": self.ended, "error": self.error}


class Visit:
    """One recording, followed in a thread of its own."""

    def __init__(self, transcriber: Transcriber, model: threading.Lock, kind: str, cropped: bool) -> None:
        settings = replace(transcriber.settings, already_cropped=cropped)
        self._transcriber = Transcriber(transcriber.trained, transcriber.search, settings)
        self._model = model
        self.upload = Upload(kind, wants_picture(settings, transcriber.trained.media), cropped)
        self.captions = Captions([[]])
        self._ends = False
        self._began = self.last_heard = time.monotonic()
        self._thread = threading.Thread(target=self._follow, daemon=True)
        self._thread.start()

    @property
    def is_idle(self) -> bool:
        return time.monotonic() - self.last_heard > IDLE_SECONDS

    def wait(self) -> None:
        """Until all that was sent has been written down."""
        self._thread.join()

    def end(self) -> None:
        """Nothing more is sent, and what has not been looked at need not be."""
        self._ends = True
        self.upload.pipe.end()

    def _follow(self) -> None:
        try:
            self._write()
        except Exception as error:  # a visitor gets a sentence, whatever happens
            fault = explain(error)
            if not fault.is_users:
                LOGGER.exception("live captions ended")
            self.captions.error = (
                fault.text if fault.is_users else "Something went wrong, see the server's log."
            )
        self.captions.partial, self.captions.ended = "", True

    def _write(self) -> None:
        clock = RealClock()
        feed, _ = feed_of(self._transcriber, self.upload.lacking())
        live = live_of(self._transcriber, Pace(), clock.now)
        for moment in run(live, self.upload, feed, clock, self._is_over, self._model):
            update = moment.update
            self.captions.fixed[-1] += [word.text for word in update.fixed]
            if update.partial is not None:
                self.captions.partial = update.partial
            if update.closed:
                self.captions.fixed.append([])

    def _is_over(self) -> bool:
        return self._ends or self.is_idle or time.monotonic() - self._began > MAX_SECONDS


class Visits:
    """All that are recording now. model: held while it is used for one of them."""

    def __init__(self, transcriber: Transcriber) -> None:
        self._transcriber = transcriber
        self._model, self._lock = threading.Lock(), threading.Lock()
        self._visits: dict[str, Visit] = {}
        self._closed = False

    def take(self, name: str, piece: bytes, kind: str, cropped: bool, last: bool) -> dict[str, Any]:
        """The next piece of a recording. Raises ValueError where it cannot be taken."""
        if not ID.fullmatch(name) or len(piece) > MAX_PIECE_BYTES:
            raise ValueError("found no piece of a recording")
        with self._lock:
            if self._closed:
                raise ValueError("the page is closed")
            self._visits = {n: v for n, v in self._visits.items() if not (v.is_idle or v.captions.ended)}
            visit = self._visits.get(name)
            if visit is None:
                if len(self._visits) >= MAX_VISITS:
                    raise ValueError(
                        f"{MAX_VISITS} recordings are being written down already: try again later"
                    )
                visit = self._visits[name] = Visit(self._transcriber, self._model, kind, cropped)
        visit.last_heard = time.monotonic()
        visit.upload.pipe.write(piece)
        if last:
            visit.upload.pipe.end()
            visit.wait()
            with self._lock:
                self._visits.pop(name, None)
        return visit.captions.as_json()

    def close(self) -> None:
        """End all recordings: a thread that computes while Python ends would take it down."""
        with self._lock:
            self._closed, visits = True, list(self._visits.values())
        for visit in visits:
            visit.end()
        for visit in visits:
            visit.wait()


def add_route(app: FastAPI, transcriber: Transcriber) -> Visits:
    """Answer a browser that records. To be closed at the end."""
    from starlette.responses import JSONResponse

    visits = Visits(transcriber)

    async def answer(request: Request) -> JSONResponse:
        asked = request.query_params
        take: Callable[..., dict[str, Any]] = visits.take
        try:
            piece = await _body(request)
            found = await asyncio.to_thread(
                take,
                request.path_params["name"],
                piece,
                asked.get("kind", ""),
                asked.get("cropped") == "1",
                asked.get("last") == "1",
            )
        except ValueError as error:
            return JSONResponse({"error": str(error)}, status_code=422)
        return JSONResponse(found)

    app.router.add_route("/live/{name}", answer, methods=["POST"])
    return visits


async def _body(request: Request) -> bytes:
    """Raises ValueError for one that is too large, before it is read."""
    found = bytearray()
    async for part in request.stream():
        found += part
        if len(found) > MAX_PIECE_BYTES:
            raise ValueError(f"found a piece of more than {MAX_PIECE_BYTES // 2**20} MB")
    return bytes(found)
