"""What has been made of each video, a line of JSON for each; a run that was stopped goes on by it.

Every process that prepares a share of a data set writes a journal of its own and reads all of them.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from preparation.datasets.clips import ItemRecord

FOLDER = ".prepared"


class Journal:
    """Appends records to `folder/{prefix}.{shard}.jsonl`, each whole before the next begins."""

    def __init__(self, folder: Path, prefix: str, shard: str) -> None:
        self._folder, self._prefix = folder, prefix
        self._path = folder / f"{prefix}.{shard}.jsonl"

    def read(self, keys: Mapping[str, str]) -> dict[str, ItemRecord]:
        """The record of each item of `keys`, over all shards: the one with its key, or else the newest."""
        found: dict[str, ItemRecord] = {}
        for path in sorted(self._folder.glob(f"{self._prefix}.*.jsonl"), key=_modified):
            with path.open(encoding="utf-8", errors="replace") as file:
                for record in _records(file):
                    key = keys.get(record.name)
                    known = found.get(record.name)
                    if key is not None and (known is None or known.key != key or record.key == key):
                        found[record.name] = record
        return found

    def __enter__(self) -> Journal:
        self._folder.mkdir(parents=True, exist_ok=True)
        self._file = self._path.open("a", encoding="utf-8")
        if self._path.stat().st_size and not _ends_with_a_line(self._path):
            self._file.write("\n")
        return self

    def add(self, record: ItemRecord) -> None:
        self._file.write(record.to_json() + "\n")
        self._file.flush()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()


def _records(lines: Iterable[str]) -> Iterator[ItemRecord]:
    for line in lines:
        # A process that was killed may have left half a line.
        with suppress(ValueError, KeyError, TypeError):
            yield ItemRecord.from_json(line)


def _modified(path: Path) -> int:
    return path.stat().st_mtime_ns


def _ends_with_a_line(path: Path) -> bool:
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read(1) == b"\n"
