"""A request's form, read as it comes in: the recording goes to a file, within bounds, and never to memory."""

from __future__ import annotations

import contextlib
import re
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import BinaryIO

import anyio
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import ClientDisconnect, Request

from llama_avsr.server.errors import ApiError
from llama_avsr.server.limits import Limits

MAX_PARTS = 64
MAX_FIELD_BYTES = 2**16
"""Of all fields together, and of the headers of one part."""
MAX_NAME_LETTERS = 80
DROPPED_BYTES = 64 * 10**6
DROPPED_SECONDS = 10.0
"""Of a body that is refused: read and dropped, or the client would be cut off before it sees the answer."""
SUFFIX = re.compile(r"\.[A-Za-z0-9]{1,8}")


@dataclass
class Upload:
    """A form."""

    folder: Path
    """Its own, deleted when it has been answered."""
    fields: dict[str, list[str]] = field(default_factory=dict)
    """Name, without the brackets of a list -> its values."""
    path: Path | None = None
    """Of the recording."""
    name: str = "file"
    """What the client calls it."""


@asynccontextmanager
async def received(request: Request, root: Path, limits: Limits) -> AsyncIterator[Upload]:
    """The form of a request, in a folder below `root` that goes when the block is left.

    Raises ApiError for a form that is broken, too large or too slow; ClientDisconnect where the client left.
    """
    with tempfile.TemporaryDirectory(prefix="upload_", dir=root, ignore_cleanup_errors=True) as folder:
        upload, body = Upload(Path(folder)), _Body(request)
        try:
            with anyio.fail_after(limits.request_seconds):
                await _read(request, body, upload, limits.upload_bytes)
        except ApiError:
            await body.drop()
            raise
        except TimeoutError:
            raise ApiError(
                408, f"the upload took longer than {limits.request_seconds:g} s", param="file"
            ) from None
        yield upload


@asynccontextmanager
async def refusing(request: Request) -> AsyncIterator[None]:
    """Where the block raises ApiError, the body is read and dropped before anybody is told."""
    try:
        yield
    except ApiError:
        await _Body(request).drop()
        raise


async def _read(request: Request, body: _Body, upload: Upload, max_bytes: int) -> None:
    kind, options = parse_options_header(request.headers.get("content-type"))
    if kind != b"multipart/form-data" or not options.get(b"boundary"):
        raise ApiError(400, "expected a form: Content-Type multipart/form-data with a boundary")
    promised = request.headers.get("content-length", "")
    if promised.isdigit() and int(promised) > max_bytes:
        raise _too_large(max_bytes)
    form = _Form(upload)
    try:
        parser = MultipartParser(options[b"boundary"], form.callbacks)
        async for chunk in body.chunks():
            if body.received_bytes > max_bytes:
                raise _too_large(max_bytes)
            parser.write(chunk)
        parser.finalize()
    except FormParserError as error:
        raise ApiError(400, f"the form cannot be read: {error}") from None
    finally:
        form.close()
    if not form.ended:
        raise ApiError(400, "the form breaks off before its last boundary")


class _Body:
    """A request's body, chunk by chunk."""

    def __init__(self, request: Request) -> None:
        self._request = request
        self._more = True
        self.received_bytes = 0

    async def chunks(self) -> AsyncIterator[bytes]:
        """Raises ClientDisconnect."""
        while self._more:
            message = await self._request.receive()
            if message["type"] == "http.disconnect":
                raise ClientDisconnect
            self._more = message.get("more_body", False)
            chunk = message.get("body", b"")
            self.received_bytes += len(chunk)
            yield chunk

    async def drop(self) -> None:
        """Read what is left of a refused body, unless the client waits to be told that it may send it."""
        if "100-continue" in self._request.headers.get("expect", ""):
            return
        limit = self.received_bytes + DROPPED_BYTES
        with anyio.move_on_after(DROPPED_SECONDS), contextlib.suppress(ClientDisconnect):
            async for _ in self.chunks():
                if self.received_bytes > limit:
                    return


def _too_large(max_bytes: int) -> ApiError:
    return ApiError(
        413, f"the request is larger than {max_bytes / 1e6:g} MB", param="file", code="file_too_large"
    )


class _Form:
    """What the parser calls, part by part."""

    def __init__(self, upload: Upload) -> None:
        self.upload = upload
        self.ended = False
        self._parts = 0
        self._field_bytes = 0
        self._file: BinaryIO | None = None
        self._begin()

    @property
    def callbacks(self) -> dict[str, object]:
        return {
            "on_part_begin": self._begin,
            "on_header_field": lambda data, start, end: self._grow(self._header, data[start:end]),
            "on_header_value": lambda data, start, end: self._grow(self._value, data[start:end]),
            "on_header_end": self._header_ended,
            "on_headers_finished": self._headers_finished,
            "on_part_data": self._data,
            "on_part_end": self._part_ended,
            "on_end": self._all_ended,
        }

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def _begin(self) -> None:
        self._name, self._text = "", bytearray()
        self._header, self._value, self._disposition = bytearray(), bytearray(), b""

    def _grow(self, buffer: bytearray, data: bytes) -> None:
        self._field_bytes += len(data)
        if self._field_bytes > MAX_FIELD_BYTES:
            raise ApiError(413, f"the form's fields are larger than {MAX_FIELD_BYTES // 1024} kB together")
        buffer += data

    def _header_ended(self) -> None:
        if self._header.lower() == b"content-disposition":
            self._disposition = bytes(self._value)
        self._header, self._value = bytearray(), bytearray()

    def _headers_finished(self) -> None:
        self._parts += 1
        if self._parts > MAX_PARTS:
            raise ApiError(400, f"the form has more than {MAX_PARTS} parts")
        _, options = parse_options_header(self._disposition.decode("latin-1"))
        self._name = options.get(b"name", b"").decode("utf-8", "replace")
        filename = options.get(b"filename")
        if self._name != "file":
            return
        if filename is None:
            raise ApiError(400, "file: expected a file, found a text", param="file")
        if self.upload.path is not None:
            raise ApiError(400, "file: expected one file, found several", param="file")
        self.upload.name = _plain(filename.decode("utf-8", "replace"))
        suffix = PurePosixPath(self.upload.name).suffix
        suffix = suffix if SUFFIX.fullmatch(suffix) else ""
        self.upload.path = self.upload.folder / f"recording{suffix}"
        self._file = self.upload.path.open("wb")

    def _data(self, data: bytes, start: int, end: int) -> None:
        if self._file is not None:
            self._file.write(data[start:end])
        else:
            self._grow(self._text, data[start:end])

    def _part_ended(self) -> None:
        if self._file is not None:
            self.close()
        else:
            values = self.upload.fields.setdefault(self._name.removesuffix("[]"), [])
            values.append(self._text.decode("utf-8", "replace"))

    def _all_ended(self) -> None:
        self.ended = True


def _plain(name: str) -> str:
    """The last part of a path, of either kind, fit to be shown."""
    last = PureWindowsPath(PurePosixPath(name).name).name
    return "".join(char for char in last if char.isprintable())[-MAX_NAME_LETTERS:] or "file"
