"""What Prometheus is told of the server."""

from __future__ import annotations

import time
from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

PREFIX = "llama_avsr"
SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)
SIZES = (1, 2, 4, 8, 16, 32, 64)
CLIENT_LEFT = 499
"""Status of a request whose client hung up, as nginx has it."""


class Metrics:
    """One server's, apart from those of others in the process.

    in_hand, waiting: asked when the metrics are.
    """

    def __init__(self, in_hand: Callable[[], int], waiting: Callable[[], int]) -> None:
        self.registry = CollectorRegistry()
        own = {"namespace": PREFIX, "registry": self.registry}
        self._requests = Counter("requests", "Transcription requests, by HTTP status", ["status"], **own)
        self._seconds = Histogram(
            "request_seconds", "From a request's first byte to its answer's last", buckets=SECONDS, **own
        )
        self._recorded = Counter("recording_seconds", "Length of the recordings transcribed", **own)
        self._uploaded = Counter("upload_bytes", "Recordings received", **own)
        self._pieces = Histogram("batch_pieces", "Pieces in a pass of the model", buckets=SIZES, **own)
        self._shared = Histogram("batch_requests", "Requests in a pass of the model", buckets=SIZES, **own)
        Gauge("requests_in_hand", "Requests being uploaded, waiting, answered", **own).set_function(in_hand)
        Gauge("pieces_waiting", "Pieces that wait for the model", **own).set_function(waiting)

    def passed(self, pieces: int, requests: int) -> None:
        """One pass of the model."""
        self._pieces.observe(pieces)
        self._shared.observe(requests)

    def received(self, num_bytes: int) -> None:
        self._uploaded.inc(num_bytes)

    def transcribed(self, seconds: float) -> None:
        self._recorded.inc(seconds)

    def answered(self, status: int, seconds: float) -> None:
        self._requests.labels(str(status)).inc()
        self._seconds.observe(seconds)

    def as_text(self) -> bytes:
        return generate_latest(self.registry)


class Counted:
    """Middleware that counts the requests to one path."""

    def __init__(self, app: ASGIApp, metrics: Metrics, path: str) -> None:
        self.app, self.metrics, self.path = app, metrics, path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] != self.path:
            await self.app(scope, receive, send)
            return
        status, start = CLIENT_LEFT, time.perf_counter()

        async def sending(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self.app(scope, receive, sending)
        except Exception:
            status = 500
            raise
        finally:
            self.metrics.answered(status, time.perf_counter() - start)
