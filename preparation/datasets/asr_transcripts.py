"""Transcripts of a data set that has none, as a speech recognition model wrote them.

Read are: a CSV with a header (`id` and one of `text`, `transcript`, `hypothesis`; eval_LLM.py's
hypotheses.csv is one), a JSON object `{id: text}`, a JSON list or a .jsonl of objects with `id` and a text,
and in JSON also `words: [{"word", "start", "end"}]` in seconds, by which long clips are cut.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from preparation.datasets.segments import Word
from preparation.datasets.transcripts import read_text

ID_NAMES = ("id", "utterance", "path")
TEXT_NAMES = ("text", "transcript", "hypothesis")


@dataclass(frozen=True)
class Recognised:
    """What a model heard in one clip."""

    text: str
    words: tuple[Word, ...] = ()


class AsrTranscripts:
    """Transcripts by id. An id may carry folders in front and a suffix: whole path parts are compared,
    from the end, so that `vox2/vox2_video_seg16s/dev/id1/v/00001_00.mp4` is found as `id1/v/00001_00`.
    """

    def __init__(self, by_id: Mapping[str, Recognised], num_parts: int = 3) -> None:
        """num_parts: parts of an id that tell clips apart (VoxCeleb2: speaker, video, utterance)."""
        self._num_parts = num_parts
        self._by_key = {self._key(name): value for name, value in by_id.items()}

    def __len__(self) -> int:
        return len(self._by_key)

    def get(self, name: str) -> Recognised | None:
        return self._by_key.get(self._key(name))

    def _key(self, name: str) -> str:
        path = PurePosixPath(name)
        if path.suffix in (".mp4", ".wav", ".m4a", ".txt"):
            path = path.with_suffix("")
        return "/".join(path.parts[-self._num_parts :])


def read(path: Path, num_parts: int = 3) -> AsrTranscripts:
    """Read a .csv, .json or .jsonl of transcripts.

    Raises:
        ValueError: another suffix, not that format, no column or key of that name.
    """
    readers = {".csv": _from_csv, ".json": _from_json, ".jsonl": _from_json_lines}
    if path.suffix.lower() not in readers:
        raise ValueError(f"{path}: expected transcripts as {', '.join(readers)}, found {path.suffix!r}")
    try:
        found = dict(readers[path.suffix.lower()](read_text(path)))
    except (json.JSONDecodeError, csv.Error) as error:
        raise ValueError(f"{path}: cannot be read as {path.suffix[1:]} ({error})") from None
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    if not found:
        raise ValueError(f"{path}: expected transcripts, found none")
    return AsrTranscripts(found, num_parts)


def _from_csv(content: str) -> Iterator[tuple[str, Recognised]]:
    for number, row in enumerate(csv.DictReader(io.StringIO(content)), start=2):
        yield _one(row, f"row {number}")


def _from_json(content: str) -> Iterator[tuple[str, Recognised]]:
    loaded = json.loads(content)
    if isinstance(loaded, dict):
        loaded = [
            {"id": name, **(value if isinstance(value, dict) else {"text": value})}
            for name, value in loaded.items()
        ]
    if not isinstance(loaded, list):
        raise ValueError(f"expected an object or a list, found {type(loaded).__name__}")
    for number, row in enumerate(loaded, start=1):
        yield _one(row, f"entry {number}")


def _from_json_lines(content: str) -> Iterator[tuple[str, Recognised]]:
    for number, line in enumerate(content.split("\n"), start=1):
        if line.strip():
            yield _one(json.loads(line), f"line {number}")


def _one(row: object, where: str) -> tuple[str, Recognised]:
    if not isinstance(row, dict):
        raise ValueError(f"{where}: expected an object with an id and a text, found {row!r:.60}")
    name = next((row[key] for key in ID_NAMES if isinstance(row.get(key), str)), None)
    words = tuple(_word(word, where) for word in row.get("words") or ())
    text = next((row[key] for key in TEXT_NAMES if isinstance(row.get(key), str)), None)
    if text is None and words:
        text = " ".join(word.text for word in words)
    if name is None or text is None:
        raise ValueError(
            f"{where}: expected one of {', '.join(ID_NAMES)} and one of {', '.join(TEXT_NAMES)}, "
            f"found {', '.join(map(str, row))}"
        )
    return name, Recognised(text, words)


def _word(word: object, where: str) -> Word:
    try:
        return Word(str(word["word"]).strip(), float(word["start"]), float(word["end"]))
    except (KeyError, TypeError, ValueError):
        raise ValueError(f"{where}: expected words with word, start and end, found {word!r:.60}") from None
