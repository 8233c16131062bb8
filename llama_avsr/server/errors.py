"""Errors as OpenAI's clients expect them, in words for whoever sent the request."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

from llama_avsr.faults import explain

LOGGER = logging.getLogger(__name__)
AS_FIELDS = {
    "; --modality audio tries": "; modality=audio tries",
    "; --modality video tries": "; modality=video tries",
    " (--modality-dropout 0)": "",
    "--modality asks for": "modality asks for",
    "--modality audio uses": "modality=audio uses",
    "--modality video uses": "modality=video uses",
    "use one that hears, another --detector, or --already-cropped if": "send already_cropped=true if",
    "; --already-cropped if": "; already_cropped=true if",
    "give it a video, or use a model that hears": "send a video",
    "use one that reads lips, or put the sound beside the video as a .wav": "send a file with sound",
}
"""Advice of the command line, as a client can follow it."""


class ApiError(Exception):
    """What is wrong with a request, or why it is not answered.

    param: the form field that is at fault. code: OpenAI's word for it, where there is one.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        param: str | None = None,
        kind: str = "invalid_request_error",
        code: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.message = status, message
        self.param, self.kind, self.code = param, kind, code
        self.headers = dict(headers or {})

    @property
    def body(self) -> dict[str, object]:
        return {
            "error": {
                "message": self.message,
                "type": self.kind,
                "param": self.param,
                "code": self.code,
            }
        }


def refusal(error: Exception, path: Path, name: str) -> ApiError:
    """What became of a recording that could not be transcribed: the client's fault, or the server's.

    path: where the upload lies, which nobody is told. name: as the client calls it.
    """
    if isinstance(error, ApiError):
        return error
    fault = explain(error)
    if isinstance(error, ValueError) and fault.is_users:
        return ApiError(400, in_words(fault.text, path, name), param="file", code="invalid_file")
    LOGGER.error("a recording could not be transcribed: %s", fault.text, exc_info=error)
    return ApiError(500, "the server failed; its log says why", kind="server_error")


def in_words(text: str, path: Path, name: str) -> str:
    """A sentence without paths of the server and flags of the command line."""
    text = text.replace(str(path), name)
    for flags, words in AS_FIELDS.items():
        text = text.replace(flags, words)
    return text if name in text else f"{name}: {text}"
