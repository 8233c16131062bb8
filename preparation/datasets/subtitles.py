"""Subtitles: .srt (SubRip) and .vtt (WebVTT).

One reader for both: what counts is a line of times (`-->`); the lines up to the next blank one are its text.
Headers, notes, styles, indices and cue settings have no such line and fall away.
"""

from __future__ import annotations

import html
import re

from preparation.datasets.segments import Word

ROLL_UP_GAP_S = 0.1
"""Captions that roll up follow each other without a gap; lines repeated later are said again."""

_TIME = r"(?:(\d+):)?(\d{1,2}):(\d{1,2})[.,](\d{1,3})"
_TIMES = re.compile(rf"^\s*{_TIME}\s*-->\s*{_TIME}(?:\s.*)?$")
_LIKE_TIMES = re.compile(r"^\s*(?:-->|[\d:][^\s]*\s*-->)")
_TAG = re.compile(r"</?[a-zA-Z0-9][^>]*>|\{\\[^}]*\}")
_SPEAKER_CHANGE = re.compile(r"^\s*(?:>>+|[-\u2013\u2014])\s*")


def parse(content: str) -> list[Word]:
    """The cues in order of time, none of which overlap.

    A cue that reaches into the next one ends there; lines that a cue repeats from the one before it (captions
    that roll up) count once; cues at the same time become one.

    Raises:
        ValueError: naming the line whose times cannot be read, or where there is no cue at all.
    """
    lines = content.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n").split("\n")
    cues = sorted(_raw_cues(lines), key=lambda cue: cue[:2])
    if not cues:
        _refuse_other_times(lines)
        raise ValueError("expected subtitles, found no line with times (00:01:02,500 --> 00:01:04,000)")
    return _untangled(cues)


def _raw_cues(lines: list[str]) -> list[tuple[float, float, list[str]]]:
    cues = []
    for number, line in enumerate(lines):
        if not _is_times(line):
            continue
        match = _TIMES.match(line)
        if match is None:
            raise _bad_times(number, line)
        parts = match.groups()
        cues.append((_seconds(parts[:4]), _seconds(parts[4:]), _text_lines(lines, number + 1)))
    return cues


def _refuse_other_times(lines: list[str]) -> None:
    for number, line in enumerate(lines):
        if "-->" in line:
            raise _bad_times(number, line)


def _bad_times(number: int, line: str) -> ValueError:
    return ValueError(
        f"line {number + 1}: expected times as 00:01:02,500 --> 00:01:04,000, found {line.strip()!r}"
    )


def _is_times(line: str) -> bool:
    """Whether a line is meant to be one of times; an arrow may stand in a text too."""
    return _LIKE_TIMES.match(line) is not None


def _seconds(parts: tuple[str | None, ...]) -> float:
    hours, minutes, seconds, fraction = parts
    return int(hours or 0) * 3600 + int(minutes) * 60 + int(seconds) + int(fraction.ljust(3, "0")) / 1000


def _text_lines(lines: list[str], start: int) -> list[str]:
    end = start
    while end < len(lines) and lines[end].strip() and not _is_times(lines[end]):
        end += 1
    # Without a blank line between cues, the next one's index looks like text.
    if end < len(lines) and _is_times(lines[end]) and end > start and lines[end - 1].strip().isdecimal():
        end -= 1
    cleaned = (html.unescape(_TAG.sub("", line)) for line in lines[start:end])
    return [_SPEAKER_CHANGE.sub("", line).strip() for line in cleaned]


def _untangled(cues: list[tuple[float, float, list[str]]]) -> list[Word]:
    words: list[Word] = []
    shown: list[str] = []
    for start_s, end_s, lines in cues:
        lines = [line for line in lines if line]
        rolls_up = bool(words) and start_s <= words[-1].end_s + ROLL_UP_GAP_S
        new, shown = _without_repeated(shown if rolls_up else [], lines), lines
        if words and words[-1].end_s > start_s:
            if words[-1].start_s == start_s:
                before = words.pop()
                new, end_s = [before.text, *new], max(before.end_s, end_s)
            else:
                words[-1] = Word(words[-1].text, words[-1].start_s, start_s)
        if new and end_s > start_s:
            words.append(Word(" ".join(new), start_s, end_s))
    return words


def _without_repeated(shown: list[str], lines: list[str]) -> list[str]:
    """The lines after those that the last cue ended with."""
    for count in range(min(len(shown), len(lines)), 0, -1):
        if shown[-count:] == lines[:count]:
            return lines[count:]
    return lines
