"""What a transcription request asks for, and what of it cannot be done."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from datamodules.languages import LANGUAGES
from datamodules.registry import unknown
from llama_avsr.server.errors import ApiError
from llama_avsr.transcription.pipeline import Transcriber, media_of

FORMATS = ("json", "text", "srt", "verbose_json", "vtt")
STREAMED = ("json", "text")
GRANULARITIES = ("segment", "word")
TRUE, FALSE = ("true", "1"), ("false", "0", "")


@dataclass(frozen=True, kw_only=True)
class Ask:
    """One request, checked."""

    response_format: str = "json"
    stream: bool = False
    granularities: frozenset[str] = frozenset({"segment"})
    modality: str | None = None
    """Of `Transcriber.transcribe`; no field of OpenAI's."""
    already_cropped: bool | None = None
    """Likewise."""


def ask_of(fields: Mapping[str, Sequence[str]], transcriber: Transcriber, model_id: str) -> Ask:
    """fields: as `Upload.fields`. Raises ApiError, 400 or 404, for what is unknown or cannot be done."""
    for name, values in fields.items():
        if name not in READERS:
            raise _wrong(name, unknown("is no field that is known here", name, sorted(("file", *READERS))))
        if len(values) > 1 and name not in LISTS:
            raise _wrong(name, f"expected it once, found it {len(values)} times")
    given = {name: READERS[name](name, values) for name, values in fields.items()}
    _check_model(given.get("model"), model_id)
    _check_language(given.get("language"), transcriber.settings.languages[0])
    response_format = given.get("response_format") or "json"
    granularities = frozenset(given.get("timestamp_granularities") or ())
    if granularities and response_format != "verbose_json":
        raise _wrong("timestamp_granularities", "needs response_format=verbose_json")
    if "word" in granularities:
        _check_words(transcriber)
    stream = bool(given.get("stream"))
    if stream and response_format not in STREAMED:
        raise _wrong("stream", f"needs response_format {' or '.join(STREAMED)}, found {response_format}")
    return Ask(
        response_format=response_format,
        stream=stream,
        granularities=granularities or frozenset({"segment"}),
        modality=given.get("modality"),
        already_cropped=given.get("already_cropped"),
    )


def _text(name: str, values: Sequence[str]) -> str | None:
    return values[0].strip() or None


def _choice(*known: str) -> Callable[[str, Sequence[str]], str | None]:
    def read(name: str, values: Sequence[str]) -> str | None:
        value = _text(name, values)
        if value is not None and value not in known:
            raise _wrong(name, f"found {value!r}, expected one of {', '.join(known)}")
        return value

    return read


def _flag(name: str, values: Sequence[str]) -> bool:
    value = values[0].strip().lower()
    if value not in (*TRUE, *FALSE):
        raise _wrong(name, f"found {value!r}, expected true or false")
    return value in TRUE


def _prompt(name: str, values: Sequence[str]) -> None:
    if _text(name, values) is not None:
        raise _wrong(name, "this model takes no prompt, it was trained with one of its own: leave it out")


def _temperature(name: str, values: Sequence[str]) -> None:
    try:
        wanted = float(values[0] or 0)
    except ValueError:
        raise _wrong(name, f"found {values[0]!r}, expected a number") from None
    if wanted != 0:
        raise _wrong(name, f"found {wanted:g}; this server decodes by beam search, expected 0")


def _granularities(name: str, values: Sequence[str]) -> list[str]:
    for value in values:
        if value not in GRANULARITIES:
            raise _wrong(name, f"found {value!r}, expected some of {', '.join(GRANULARITIES)}")
    return list(values)


def _include(name: str, values: Sequence[str]) -> None:
    raise _wrong(name, f"found {values[0]!r}; nothing can be included beyond the response_format's own")


def _modality(name: str, values: Sequence[str]) -> str | None:
    value = _text(name, values)
    try:
        if value is not None:
            media_of(value)
    except ValueError as error:
        raise _wrong(name, str(error)) from None
    return value


READERS = {
    "model": _text,
    "language": _text,
    "prompt": _prompt,
    "response_format": _choice(*FORMATS),
    "temperature": _temperature,
    "timestamp_granularities": _granularities,
    "stream": _flag,
    "chunking_strategy": _choice("auto"),  # recordings are always cut at their pauses
    "include": _include,
    "modality": _modality,
    "already_cropped": _flag,
}
"""Field -> what it says. Raises ApiError."""
LISTS = ("timestamp_granularities", "include")


def _check_model(asked: str | None, model_id: str) -> None:
    if asked is None:
        raise _wrong("model", f"is missing; this server has {model_id}")
    if asked != model_id:
        raise ApiError(
            404,
            f"model: found {asked!r}, this server has {model_id}",
            param="model",
            code="model_not_found",
        )


def _check_language(asked: str | None, spoken: str) -> None:
    names = {spoken, LANGUAGES[spoken].lower()}
    if asked is not None and asked.lower() not in names:
        raise _wrong(
            "language", f"found {asked!r}; this server transcribes {LANGUAGES[spoken]} speech ({spoken})"
        )


def _check_words(transcriber: Transcriber) -> None:
    spoken, written = transcriber.settings.languages
    if spoken != written:
        raise _wrong("timestamp_granularities", "a translation has no times for words: ask for segment")
    if transcriber.trained.words is None:
        raise _wrong("timestamp_granularities", "this model has no times for words: ask for segment")


def _wrong(name: str, message: str) -> ApiError:
    return ApiError(400, f"{name}: {message}", param=name)
