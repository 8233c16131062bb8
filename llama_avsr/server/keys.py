"""API keys: where they come from, and whether a request has one."""

from __future__ import annotations

import hashlib
import hmac
import os
from collections.abc import Sequence
from pathlib import Path

from llama_avsr.server.errors import ApiError

VARIABLE = "LLAMA_AVSR_API_KEY"
MAX_FILE_BYTES = 2**16


def keys_of(file: Path | None) -> list[str]:
    """The keys that are good: one on each line of `file`, and the environment's; none: nobody is asked.

    Raises ValueError for a file that cannot be read or holds no key.
    """
    found = [os.environ[VARIABLE].strip()] if os.environ.get(VARIABLE, "").strip() else []
    if file is None:
        return found
    with file.open("rb") as opened:
        content = opened.read(MAX_FILE_BYTES + 1)
    try:
        own = [line.strip() for line in content.decode("utf-8").splitlines() if line.strip()]
    except UnicodeDecodeError:
        own = []
    if not own or len(content) > MAX_FILE_BYTES:
        raise ValueError(f"--api-key-file {file}: expected a small text file with one key on each line")
    return found + own


def check(keys: Sequence[str], authorization: str | None) -> None:
    """Raises ApiError, 401, where keys are asked for and the header `Authorization: Bearer KEY` has none of
    them. How long it takes says nothing of the keys."""
    if not keys:
        return
    scheme, _, given = (authorization or "").partition(" ")
    if scheme.lower() != "bearer" or not given.strip():
        raise _unauthorized("this server needs an API key: send the header Authorization: Bearer KEY")
    digest = _digest(given.strip())
    if not sum(hmac.compare_digest(digest, _digest(key)) for key in keys):
        raise _unauthorized("the API key is wrong")


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()


def _unauthorized(message: str) -> ApiError:
    return ApiError(401, message, code="invalid_api_key", headers={"WWW-Authenticate": "Bearer"})
