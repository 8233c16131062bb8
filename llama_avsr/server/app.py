"""The paths of the server, and what is done for each."""

from __future__ import annotations

import functools
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from pathlib import Path, PurePath
from typing import TypeVar

import anyio
from fastapi import Depends, FastAPI, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope, Send

from llama_avsr.server import answers, keys
from llama_avsr.server.desk import Desk
from llama_avsr.server.errors import ApiError
from llama_avsr.server.form import ask_of
from llama_avsr.server.limits import Limits, Places
from llama_avsr.server.metrics import CLIENT_LEFT, Counted, Metrics
from llama_avsr.server.uploads import received, refusing
from llama_avsr.server.work import Work
from llama_avsr.transcription.pipeline import Transcriber

TRANSCRIPTIONS = "/v1/audio/transcriptions"
T = TypeVar("T")


def build(
    desk: Desk,
    root: Path,
    metrics: Metrics,
    places: Places,
    *,
    limits: Limits,
    model_id: str,
    accepted: Sequence[str] = (),
) -> FastAPI:
    """root: folder for uploads. accepted: API keys; none: nobody is asked for one."""
    # Its own pages of documentation would fetch scripts from elsewhere.
    app = FastAPI(title="llama_avsr", docs_url=None, redoc_url=None, openapi_url=None)
    app.add_middleware(Counted, metrics=metrics, path=TRANSCRIPTIONS)
    app.add_exception_handler(ApiError, _say)
    app.add_exception_handler(HTTPException, _say_http)
    app.add_exception_handler(ClientDisconnect, _nobody_listens)
    app.add_exception_handler(Exception, _say_failure)

    async def authorized(request: Request) -> None:
        async with refusing(request):
            keys.check(accepted, request.headers.get("authorization"))

    locked = [Depends(authorized)]
    model = {"id": model_id, "object": "model", "created": int(time.time()), "owned_by": "llama-avsr"}
    transcribed = functools.partial(_transcribe, desk, root, metrics, limits, model_id)

    @app.post(TRANSCRIPTIONS, dependencies=locked)
    async def transcriptions(request: Request) -> Response:
        async with AsyncExitStack() as stack:
            async with refusing(request):
                stack.enter_context(places.one())
            return await transcribed(stack, request)

    @app.get("/v1/models", dependencies=locked)
    async def models() -> dict[str, object]:
        return {"object": "list", "data": [model]}

    @app.get("/v1/models/{name:path}", dependencies=locked)
    async def one_model(name: str) -> dict[str, object]:
        if name != model_id:
            raise ApiError(404, f"found no model {name!r}", param="model", code="model_not_found")
        return model

    @app.get("/health")
    async def health() -> dict[str, object]:
        return {"status": "ok", "model": model_id, "requests_in_hand": places.taken}

    @app.get("/metrics", dependencies=locked)
    async def prometheus() -> Response:
        return Response(metrics.as_text(), media_type=CONTENT_TYPE_LATEST)

    return app


def model_name(transcriber: Transcriber) -> str:
    """What the model is called where nobody says: `user/model`, the last two parts of a path."""
    return "/".join(PurePath(transcriber.trained.name).parts[-2:]).lstrip("/")


async def _transcribe(
    desk: Desk,
    root: Path,
    metrics: Metrics,
    limits: Limits,
    model_id: str,
    stack: AsyncExitStack,
    request: Request,
) -> Response:
    """What the request holds is in `stack`, which a streamed answer takes over."""
    upload = await stack.enter_async_context(received(request, root, limits))
    ask = ask_of(upload.fields, desk.transcriber, model_id)
    if upload.path is None:
        raise ApiError(400, "file: is missing; send a recording, sound or video", param="file")
    metrics.received(upload.path.stat().st_size)
    work = await stack.enter_async_context(Work(desk, upload, ask, limits.request_seconds))

    if ask.stream:
        begun = await _unless_gone(request, work.begin)
        return _nobody() if begun is None else _Events(_events(work, metrics), stack.pop_all())

    async def whole() -> Response:
        await work.begin()
        transcript = await work.transcript()
        metrics.transcribed(transcript.duration_s)
        return answers.answer(transcript, ask)

    return await _unless_gone(request, whole) or _nobody()


async def _unless_gone(request: Request, work: Callable[[], Awaitable[T]]) -> T | None:
    """What `work` returns, or raises; None where the client hangs up, with which the work ends."""
    found: T | None = None
    error: Exception | None = None

    async def run() -> None:
        nonlocal found, error
        try:
            found = await work()
        except Exception as raised:  # a group of tasks would wrap it
            error = raised
        group.cancel_scope.cancel()

    async with anyio.create_task_group() as group:
        group.start_soon(run)
        while (await request.receive())["type"] != "http.disconnect":
            pass
        group.cancel_scope.cancel()
    if error is not None:
        raise error
    return found


async def _events(work: Work, metrics: Metrics) -> AsyncIterator[str]:
    """Server-sent events: a delta for each segment with words, and the end."""
    try:
        any_before = False
        async for segment in work.segments():
            if segment.text:
                yield answers.delta(f" {segment.text}" if any_before else segment.text)
                any_before = True
        transcript = await work.transcript()
    except ApiError as error:
        # The status has been sent: the client's library raises what it finds here.
        yield answers.event(error.body)
        return
    metrics.transcribed(transcript.duration_s)
    yield answers.done(transcript)


class _Events(StreamingResponse):
    """Gives back what its request holds when it ends, however it ends."""

    def __init__(self, events: AsyncIterator[str], stack: AsyncExitStack) -> None:
        super().__init__(events, media_type="text/event-stream", headers={"Cache-Control": "no-cache"})
        self._stack = stack

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            with anyio.CancelScope(shield=True):
                await self._stack.aclose()


def _say(request: Request, error: ApiError) -> Response:
    return JSONResponse(error.body, error.status, error.headers)


def _say_http(request: Request, error: HTTPException) -> Response:
    """A path or a method that does not exist."""
    message = f"{request.method} {request.url.path}: {error.detail}"
    return _say(request, ApiError(error.status_code, message, headers=error.headers))


def _say_failure(request: Request, error: Exception) -> Response:
    return _say(request, ApiError(500, "the server failed; its log says why", kind="server_error"))


def _nobody_listens(request: Request, error: ClientDisconnect) -> Response:
    return _nobody()


def _nobody() -> Response:
    return Response(status_code=CLIENT_LEFT)
