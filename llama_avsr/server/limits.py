"""How much one server takes on, and the places for requests."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from llama_avsr.options import ApiOptions
from llama_avsr.server.errors import ApiError

RETRY_SECONDS = 2
"""After which a client that finds no place may ask again."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Of one server."""

    upload_mb: float = ApiOptions.max_upload_mb
    """Megabytes (10^6) of one request's body."""
    recording_seconds: float = ApiOptions.max_recording_seconds
    requests: int = ApiOptions.max_requests
    """In hand at a time: being uploaded, waiting, being answered."""
    request_seconds: float = ApiOptions.max_request_seconds
    """From the end of the upload to the answer, and for the upload itself."""
    readers: int = ApiOptions.readers
    """Threads that read recordings."""

    @property
    def upload_bytes(self) -> int:
        return int(self.upload_mb * 1e6)


class Places:
    """Counts the requests in hand; used in the event loop's thread alone."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.taken = 0

    @contextmanager
    def one(self) -> Iterator[None]:
        """Raises ApiError, 429, where there is none left."""
        if self.taken >= self.count:
            raise ApiError(
                429,
                f"the server has {self.taken} requests in hand, as many as it takes: try again later",
                kind="rate_limit_error",
                code="rate_limit_exceeded",
                headers={"Retry-After": str(RETRY_SECONDS)},
            )
        self.taken += 1
        try:
            yield
        finally:
            self.taken -= 1
