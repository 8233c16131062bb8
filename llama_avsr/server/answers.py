"""A transcript in the shapes that OpenAI's interface has."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Sequence

from starlette.responses import JSONResponse, PlainTextResponse, Response

from datamodules.languages import LANGUAGES
from llama_avsr.server.form import Ask
from llama_avsr.transcription import outputs
from llama_avsr.transcription.transcript import Segment, Transcript

LAST_EVENT = "data: [DONE]\n\n"


def answer(transcript: Transcript, ask: Ask) -> Response:
    if ask.response_format == "verbose_json":
        return JSONResponse(verbose(transcript, ask))
    return WRITERS[ask.response_format](transcript)


def _json(transcript: Transcript) -> Response:
    return JSONResponse({"text": transcript.text, "usage": _usage(transcript)})


WRITERS: dict[str, Callable[[Transcript], Response]] = {
    "json": _json,
    "text": lambda transcript: PlainTextResponse(f"{transcript.text}\n"),
    "srt": lambda transcript: PlainTextResponse(outputs.as_srt(transcript)),
    "vtt": lambda transcript: Response(outputs.as_vtt(transcript), media_type="text/vtt"),
}


def verbose(transcript: Transcript, ask: Ask) -> dict[str, object]:
    spoken, written = transcript.languages
    found: dict[str, object] = {
        "task": "transcribe" if spoken == written else "translate",
        "language": LANGUAGES[spoken].lower(),
        "duration": round(transcript.duration_s, 3),
        "text": transcript.text,
        "usage": _usage(transcript),
        "notes": list(transcript.notes),
    }
    if "segment" in ask.granularities:
        found["segments"] = [_segment(index, one) for index, one in enumerate(transcript.segments)]
    if "word" in ask.granularities:
        found["words"] = _words(transcript.segments)
    return found


def _segment(index: int, segment: Segment) -> dict[str, object]:
    """Beside OpenAI's keys: `finished` and `media` as in NAME.json, and `speaker` where there is one.

    This model has no probability of silence, and keeps no token numbers.
    """
    found = {
        "id": index,
        "seek": 0,
        "start": round(segment.start_s, 3),
        "end": round(segment.end_s, 3),
        "text": segment.text,
        "tokens": [],
        "temperature": 0.0,
        "avg_logprob": segment.score,
        "compression_ratio": _compression(segment.text),
        "no_speech_prob": None,
        "finished": segment.hypotheses[0].finished,
        "media": list(segment.media),
    }
    return found if segment.speaker is None else {**found, "speaker": segment.speaker}


def _compression(text: str) -> float:
    """Bytes of a text by its bytes compressed, as Whisper has it: high where words repeat themselves."""
    plain = text.encode("utf-8")
    return len(plain) / len(zlib.compress(plain)) if plain else 0.0


def _words(segments: Sequence[Segment]) -> list[dict[str, object]]:
    found = []
    for word in (word for segment in segments for word in segment.words or ()):
        one = {"word": word.text, "start": round(word.start_s, 3), "end": round(word.end_s, 3)}
        found.append(one if word.confidence is None else {**one, "confidence": round(word.confidence, 3)})
    return found


def _usage(transcript: Transcript) -> dict[str, object]:
    return {"type": "duration", "seconds": round(transcript.duration_s, 3)}


def delta(text: str) -> str:
    return event({"type": "transcript.text.delta", "delta": text})


def done(transcript: Transcript) -> str:
    return event({"type": "transcript.text.done", "text": transcript.text}) + LAST_EVENT


def event(content: dict[str, object]) -> str:
    """A server-sent event."""
    return f"data: {json.dumps(content, ensure_ascii=False)}\n\n"
