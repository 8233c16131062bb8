"""Keeps the server up until it is told to stop."""

from __future__ import annotations

import contextlib
import logging
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import uvicorn
from fastapi import FastAPI

from llama_avsr import stopping
from llama_avsr.page.server import is_loopback
from llama_avsr.server import keys
from llama_avsr.server.app import build, model_name
from llama_avsr.server.desk import Desk
from llama_avsr.server.limits import Limits, Places
from llama_avsr.server.metrics import Metrics
from llama_avsr.transcription.pipeline import Transcriber

LOGGER = logging.getLogger(__name__)
HOST = "127.0.0.1"
PORT = 7860
LAST_SECONDS = 30
"""From a signal to the end of what is still being answered."""


def serve(
    transcriber: Transcriber,
    *,
    host: str = HOST,
    port: int = PORT,
    key_file: Path | None = None,
    model_id: str | None = None,
    limits: Limits | None = None,
) -> None:
    """Answer requests until a signal; then nothing new is taken, and what is in hand has 30 s to end.

    Raises ValueError where the address cannot be had or the keys cannot be read; Stopped after a signal.
    """
    accepted = keys.keys_of(key_file)
    logging.getLogger("python_multipart").setLevel(logging.ERROR)  # it warns of what clients get told
    if not is_loopback(host) and not accepted:
        LOGGER.warning("--host %s: whoever reaches this machine can use the server; see --api-key-file", host)
    with bound(host, port) as listener, stopping.asking():
        with answering(transcriber, accepted, model_id, limits or Limits()) as app:
            shown = f"[{host}]" if ":" in host else host
            print(f"The server is at http://{shown}:{port}/v1 (Ctrl-C ends it)", flush=True)
            Server(config(app)).run(sockets=[listener])
        signum = stopping.requested()
    if signum is not None:
        raise stopping.Stopped(signum)


@contextlib.contextmanager
def answering(
    transcriber: Transcriber, accepted: list[str], model_id: str | None, limits: Limits
) -> Iterator[FastAPI]:
    """The application with all that it needs: threads, places, a folder for uploads."""
    places = Places(limits.requests)
    with tempfile.TemporaryDirectory(prefix="llama_avsr_server_", ignore_cleanup_errors=True) as root:
        metrics = Metrics(lambda: places.taken, lambda: desk.num_waiting)
        with Desk(transcriber, limits.readers, limits.recording_seconds, metrics.passed) as desk:
            yield build(
                desk,
                Path(root),
                metrics,
                places,
                limits=limits,
                model_id=model_id or model_name(transcriber),
                accepted=accepted,
            )


def config(app: FastAPI) -> uvicorn.Config:
    return uvicorn.Config(
        app, log_config=None, lifespan="off", server_header=False, timeout_graceful_shutdown=LAST_SECONDS
    )


class Server(uvicorn.Server):
    """Leaves signals to `stopping`, as every program here does."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def on_tick(self, counter: int) -> bool:
        return await super().on_tick(counter) or stopping.requested() is not None


def bound(host: str, port: int) -> socket.socket:
    """Raises ValueError where the address cannot be had."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=1024)
    except (OSError, UnicodeError) as error:
        raise ValueError(
            f"--host {host} --port {port}: {error}; give another port, or an address of this machine"
        ) from None
