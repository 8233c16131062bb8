"""Reading what is said in a video from the file that lies beside it."""

from __future__ import annotations

import codecs
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from preparation.datasets import subtitles, text
from preparation.datasets.segments import Cues, Transcript, WholeText, Word, Words

ALIGNMENT_HEADER = ("WORD", "START", "END")
TEXT_KEY = "Text:"
SUBTITLE_SUFFIXES = (".srt", ".vtt")


class TranscriptError(ValueError):
    """A file of text that cannot be used: which, and why."""


def read_lrs_text(path: Path) -> Transcript:
    """The first line of an LRS2 or LRS3 .txt, without `Text:` and with `text.lrs` applied."""
    first, _, _ = read_text(path).partition("\n")
    return WholeText(text.lrs(_after_key(path, first)))


def read_lrs_words(path: Path) -> Transcript:
    """The alignment of an LRS2 or LRS3 .txt of `pretrain`: `WORD START END ASDSCORE` a line, in seconds."""
    lines = read_text(path).split("\n")
    header = next((i for i, line in enumerate(lines) if tuple(line.split()[:3]) == ALIGNMENT_HEADER), None)
    if header is None:
        raise TranscriptError(
            f"{path}: expected an alignment after the line {' '.join(ALIGNMENT_HEADER)}, found none"
        )
    words = []
    for number, line in enumerate(lines[header + 1 :], start=header + 2):
        if line.strip():
            words.append(_aligned_word(path, number, line))
    if not any(word.text for word in words):
        raise TranscriptError(f"{path}: expected words after line {header + 1}, found none")
    return Words(tuple(words))


@dataclass(frozen=True)
class BesideReader:
    """Reads a person's .srt, .vtt or .txt. A .txt is the whole text, or an alignment as LRS3's `pretrain` has
    it.

    verbatim: keep texts as they are written; else they become words alone, and cues of which nothing is left
    ([music]) are dropped.
    """

    verbatim: bool = False

    def __call__(self, path: Path) -> Transcript:
        timed = path.suffix.lower() in SUBTITLE_SUFFIXES
        if self.verbatim:
            return _read_beside(path, timed, text.verbatim)
        return _read_beside(path, timed, text.subtitle if timed else text.spoken)


def _read_beside(path: Path, timed: bool, clean: Callable[[str], str]) -> Transcript:
    content = read_text(path)
    if timed:
        try:
            cues = subtitles.parse(content)
        except ValueError as error:
            raise TranscriptError(f"{path}: {error}") from None
        cleaned = (Word(clean(cue.text), cue.start_s, cue.end_s) for cue in cues)
        return Cues(tuple(cue for cue in cleaned if cue.text))
    if content.startswith(TEXT_KEY):
        has_words = any(tuple(line.split()[:3]) == ALIGNMENT_HEADER for line in content.split("\n"))
        return read_lrs_words(path) if has_words else read_lrs_text(path)
    whole = clean(content)
    if not whole:
        raise TranscriptError(f"{path}: expected the text that is spoken, found none")
    return WholeText(whole)


def read_text(path: Path) -> str:
    """A UTF-8 (or, with its mark, UTF-16) file with `\\n` as line end.

    Raises:
        TranscriptError: missing, or in another encoding.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise TranscriptError(
            f"{path}: cannot be read ({error.strerror}); expected the text of a clip"
        ) from None
    is_utf16 = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        decoded = content.decode("utf-16" if is_utf16 else "utf-8-sig")
    except UnicodeDecodeError:
        raise TranscriptError(f"{path}: expected UTF-8, found other bytes; save it as UTF-8") from None
    return decoded.replace("\r\n", "\n").replace("\r", "\n")


def _after_key(path: Path, line: str) -> str:
    key, _, rest = line.strip().partition(" ")
    if key != TEXT_KEY:
        raise TranscriptError(
            f"{path}: expected a first line that begins with {TEXT_KEY}, found {line[:40]!r}"
        )
    if not rest.strip():
        raise TranscriptError(f"{path}: expected words after {TEXT_KEY}, found none")
    return rest


def _aligned_word(path: Path, number: int, line: str) -> Word:
    parts = line.split()
    try:
        start_s, end_s = float(parts[1]), float(parts[2])
    except (IndexError, ValueError):
        start_s = end_s = math.nan
    if not (math.isfinite(start_s) and math.isfinite(end_s) and start_s <= end_s):
        raise TranscriptError(f"{path}:{number}: expected WORD START END in seconds, found {line.strip()!r}")
    return Word(text.lrs(parts[0]), start_s, end_s)
