"""Files that say who spoke: NIST's STM, SegLST (a JSON list of segments), and our own transcripts NAME.json.

A meeting is one recording; its speakers' words are joined in the order of their times.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

COMMENT = ";;"
IGNORED = "ignore_time_segment_in_scoring"
NOBODY = "nobody"
"""Whose words are that are no speaker's."""


@dataclass(frozen=True)
class Meetings:
    """Who said what."""

    source: str
    said: Mapping[str, Mapping[str, str]]
    """Meeting -> speaker -> words."""
    omits_silent: bool = False
    """Whether a meeting in which nothing was said is not in such a file."""


@dataclass(frozen=True)
class _Segment:
    meeting: str
    speaker: str
    start_s: float
    words: str


def read(path: Path) -> Meetings:
    """A file, or a folder of transcripts (`transcribe.py --speaker all --output-dir FOLDER`).

    Raises ValueError, naming the file, for what cannot be read.
    """
    if path.is_dir():
        files = sorted(path.glob("*.json"))
        if not files:
            raise ValueError(f"{path}: found no .json in it; expected transcripts of transcribe.py")
        merged: dict[str, Mapping[str, str]] = {}
        for file in files:
            for meeting, speakers in _read_file(file).said.items():
                if meeting in merged:
                    raise ValueError(f"{file}: the meeting {meeting} is in another file of {path}, too")
                merged[meeting] = speakers
        return Meetings(str(path), merged)
    if not path.is_file():
        raise ValueError(f"{path}: no such file")
    return _read_file(path)


def _read_file(path: Path) -> Meetings:
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        raise ValueError(f"{path}: expected a file that names speakers: {', '.join(READERS)}")
    try:
        return reader(path.read_text(encoding="utf-8-sig"), path)
    except UnicodeDecodeError:
        raise ValueError(f"{path}: found bytes that are no UTF-8; expected text") from None


def _read_stm(text: str, path: Path) -> Meetings:
    """`meeting channel speaker start end [<labels>] words`, a segment on each line."""
    segments = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.startswith(COMMENT):
            continue
        try:
            meeting, _, speaker, start, _, *words = line.split(maxsplit=5)
            start_s = float(start)
        except ValueError:
            raise ValueError(
                f"{path}:{number}: expected meeting, channel, speaker, start, end and words, found "
                f"{line[:80]!r}"
            ) from None
        said = _without_labels(words[0] if words else "")
        if said.lower() == IGNORED:
            raise ValueError(f"{path}:{number}: found {said}; cpWER scores whole meetings, cut that part out")
        segments.append(_Segment(meeting, speaker, start_s, said))
    return Meetings(str(path), _joined(segments), omits_silent=True)


def _without_labels(words: str) -> str:
    """Without the `<o,f0,female>` that may stand before the words."""
    if words.startswith("<") and ">" in words:
        words = words.partition(">")[2]
    return words.strip()


def _read_json(text: str, path: Path) -> Meetings:
    try:
        found = json.loads(text)
    except (json.JSONDecodeError, RecursionError) as error:
        raise ValueError(f"{path}: found no JSON: {error}") from None
    if isinstance(found, list):
        return Meetings(str(path), _joined(_seglst(found, path)), omits_silent=True)
    if isinstance(found, dict) and isinstance(found.get("segments"), list):
        return _transcript(found, path)
    raise ValueError(
        f"{path}: expected a transcript of transcribe.py (segments), or a list of segments with session_id, "
        "speaker, words, start_time"
    )


def _seglst(rows: list[Any], path: Path) -> Iterable[_Segment]:
    for number, row in enumerate(rows, 1):
        where = f"{path}: segment {number}"
        yield _Segment(
            _text(row, "session_id", where),
            _text(row, "speaker", where),
            _seconds(row, "start_time", where),
            _text(row, "words", where),
        )


def _transcript(found: dict[str, Any], path: Path) -> Meetings:
    """A meeting is called like the recording, without its folder and suffix."""
    name = found.get("file")
    meeting = Path(name).stem if isinstance(name, str) and name else path.stem
    segments = []
    for number, row in enumerate(found["segments"], 1):
        where = f"{path}: segment {number}"
        speaker = (
            NOBODY if isinstance(row, dict) and row.get("speaker") is None else _text(row, "speaker", where)
        )
        segments.append(_Segment(meeting, speaker, _seconds(row, "start", where), _text(row, "text", where)))
    return Meetings(str(path), {meeting: {}, **_joined(segments)})


READERS: dict[str, Callable[[str, Path], Meetings]] = {".stm": _read_stm, ".json": _read_json}


def _joined(segments: Iterable[_Segment]) -> dict[str, dict[str, str]]:
    said: dict[str, dict[str, str]] = {}
    for one in sorted(segments, key=lambda one: one.start_s):
        speakers = said.setdefault(one.meeting, {})
        speakers[one.speaker] = f"{speakers.get(one.speaker, '')} {one.words}".strip()
    return said


def _text(row: Any, name: str, where: str) -> str:
    value = row.get(name) if isinstance(row, dict) else None
    if not isinstance(value, str):
        raise ValueError(f"{where}: expected text under {name}, found {value!r}"[:300])
    return value


def _seconds(row: Any, name: str, where: str) -> float:
    value = row.get(name) if isinstance(row, dict) else None
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ValueError(f"{where}: expected seconds under {name}, found {value!r}"[:300])
    try:
        return float(value)
    except ValueError:
        raise ValueError(f"{where}: expected seconds under {name}, found {value!r}"[:300]) from None
