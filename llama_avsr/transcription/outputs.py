"""A transcript as text, JSON and subtitles."""

from __future__ import annotations

import functools
import html
import json
import textwrap
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from datamodules.files import write_whole
from datamodules.languages import show_direction
from llama_avsr.transcription.modality import named

if TYPE_CHECKING:
    from llama_avsr.transcription.transcript import Segment, Transcript, Word

LINE_LENGTH = 42
"""Characters; usual for subtitles."""
MAX_LINES = 2
FORMAT = 1


@dataclass(frozen=True)
class Cue:
    """One subtitle."""

    start_s: float
    end_s: float
    lines: Sequence[str]
    speaker: str | None = None

    @property
    def shown(self) -> Sequence[str]:
        """Its lines, with a name before the first where several people speak."""
        first, *more = self.lines
        return [_said(first, self.speaker), *more]


def cues(segments: Sequence[Segment], word_times: bool = False) -> list[Cue]:
    """Subtitles of at most two lines. A segment with more text gets several, at the times of their words or,
    where words have none, in proportion to their length.

    word_times: a subtitle for each word, where words have times.
    """
    return [cue for segment in segments for cue in _segment_cues(segment, word_times)]


def _segment_cues(segment: Segment, word_times: bool) -> Iterator[Cue]:
    if segment.words is not None and word_times:
        yield from (Cue(word.start_s, word.end_s, [word.text], segment.speaker) for word in segment.words)
        return
    lines = textwrap.wrap(segment.text, LINE_LENGTH, break_on_hyphens=False)
    parts = [lines[i : i + MAX_LINES] for i in range(0, len(lines), MAX_LINES)]
    total = sum(len(line) for line in lines)
    start, read, num_words = segment.start_s, 0, 0
    for part in parts:
        read += sum(len(line) for line in part)
        num_words += sum(len(line.split()) for line in part)
        end = segment.start_s + (segment.end_s - segment.start_s) * read / total
        if segment.words is not None and num_words < len(segment.words):
            end = segment.words[num_words].start_s
        yield Cue(start, end, part, segment.speaker)
        start = end


def as_txt(transcript: Transcript) -> str:
    """A line for each segment, without times."""
    return "".join(f"{_said(s.text, s.speaker)}\n" for s in transcript.segments if s.text)


def as_srt(transcript: Transcript, word_times: bool = False) -> str:
    blocks = []
    for number, cue in enumerate(cues(transcript.segments, word_times), start=1):
        # The format has no escapes, and an arrow in a text would be a line of times.
        text = "\n".join(cue.shown).replace("-->", "\N{RIGHTWARDS ARROW}")
        blocks.append(f"{number}\n{_clock(cue.start_s, ',')} --> {_clock(cue.end_s, ',')}\n{text}\n")
    return "\n".join(blocks)


def as_vtt(transcript: Transcript, word_times: bool = False) -> str:
    blocks = ["WEBVTT\n"]
    for cue in cues(transcript.segments, word_times):
        text = "\n".join(html.escape(line, quote=False) for line in cue.lines)
        if cue.speaker is not None:
            text = f"<v {html.escape(cue.speaker, quote=False)}>{text}"
        blocks.append(f"{_clock(cue.start_s, '.')} --> {_clock(cue.end_s, '.')}\n{text}\n")
    return "\n".join(blocks)


def as_json(transcript: Transcript) -> str:
    """Everything: see docs/transcribing.md."""
    content = {
        "format": FORMAT,
        "file": str(transcript.path),
        "model": transcript.model,
        "direction": show_direction(transcript.languages),
        "duration": round(transcript.duration_s, 3),
        "media": list(transcript.media),
        "reason": transcript.reason or None,
        "notes": list(transcript.notes),
        "text": transcript.text,
        "segments": [_segment_json(segment) for segment in transcript.segments],
        "seconds": {stage: round(seconds, 3) for stage, seconds in transcript.seconds.items()},
    }
    return json.dumps(content, ensure_ascii=False, indent=2) + "\n"


WRITERS: dict[str, Callable[[Transcript], str]] = {
    "txt": as_txt,
    "json": as_json,
    "srt": as_srt,
    "vtt": as_vtt,
}
WORD_WRITERS: dict[str, Callable[[Transcript], str]] = {
    "srt": functools.partial(as_srt, word_times=True),
    "vtt": functools.partial(as_vtt, word_times=True),
}
"""Those with a subtitle for each word."""


def save(
    transcript: Transcript, folder: Path, formats: Sequence[str], word_times: bool = False
) -> list[Path]:
    """Write NAME.txt, ... ; returns their paths. word_times: subtitles of one word each.

    Raises ValueError for an unknown format.
    """
    writers = {**WRITERS, **(WORD_WRITERS if word_times else {})}
    unknown = [name for name in formats if name not in WRITERS]
    if unknown:
        raise ValueError(f"found format {unknown[0]!r}, expected some of {', '.join(WRITERS)}")
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{transcript.path.stem}.{name}" for name in formats]
    for path, name in zip(paths, formats, strict=True):
        write_whole(path, writers[name](transcript))
    return paths


def for_screen(transcript: Transcript) -> str:
    """The words; with times where there are several segments."""
    if len(transcript.segments) < 2:
        return as_txt(transcript).rstrip("\n")
    hours = slice(3 if transcript.duration_s < 3600 else 0, None)
    return "\n".join(
        f"[{_clock(segment.start_s, '.')[hours]} - {_clock(segment.end_s, '.')[hours]}] "
        f"{_said(segment.text, segment.speaker)}"
        for segment in transcript.segments
    )


def remarks(transcript: Transcript) -> list[str]:
    """What was used, why not more, and what else a reader should know."""
    return [f"used: {transcript.reason or named(transcript.media)}", *transcript.notes]


def stage_table(transcripts: Sequence[Transcript]) -> str:
    """Where the time went: seconds of each stage for each recording."""
    if not transcripts:
        return ""
    stages = list(transcripts[0].seconds)
    rows = [["", "length", *stages, "all", "x real time"]]
    rows += [_stage_row(t.path.name, t.duration_s, list(t.seconds.values())) for t in transcripts]
    if len(transcripts) > 1:
        sums = [sum(transcript.seconds[stage] for transcript in transcripts) for stage in stages]
        rows.append(_stage_row("all", sum(transcript.duration_s for transcript in transcripts), sums))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if column == 0 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    )


def _stage_row(name: str, duration_s: float, seconds: Sequence[float]) -> list[str]:
    total = sum(seconds)
    speed = f"{duration_s / total:.1f}" if total > 0 else "-"
    return [name, f"{duration_s:.1f} s", *(f"{value:.2f}" for value in seconds), f"{total:.2f}", speed]


def _said(text: str, speaker: str | None) -> str:
    return text if speaker is None else f"{speaker}: {text}"


def _segment_json(segment: Segment) -> dict[str, object]:
    by = {} if segment.speaker is None else {"speaker": segment.speaker}
    return {
        **by,
        "start": round(segment.start_s, 3),
        "end": round(segment.end_s, 3),
        "text": segment.text,
        "score": segment.score,
        "media": list(segment.media),
        "finished": segment.hypotheses[0].finished,
        "hypotheses": [{"text": h.text, "score": h.score} for h in segment.hypotheses],
        "words": None if segment.words is None else [_word_json(word) for word in segment.words],
    }


def _word_json(word: Word) -> dict[str, object]:
    return {
        "text": word.text,
        "start": round(word.start_s, 3),
        "end": round(word.end_s, 3),
        "confidence": None if word.confidence is None else round(word.confidence, 4),
    }


def _clock(seconds: float, mark: str) -> str:
    """00:01:02,500 (SRT) or 00:01:02.500 (VTT)."""
    milliseconds = round(seconds * 1000)
    minutes, rest = divmod(milliseconds, 60_000)
    return f"{minutes // 60:02d}:{minutes % 60:02d}:{rest // 1000:02d}{mark}{rest % 1000:03d}"
