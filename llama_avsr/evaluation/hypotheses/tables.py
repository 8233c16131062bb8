"""Hypotheses in tables: CSV, JSON (a list of rows, or columns as AV-HuBERT's decoder writes), JSON lines."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from llama_avsr.evaluation.hypotheses.texts import Texts

IDS = ("id", "utt_id", "utterance_id", "utterance", "utt", "key", "name", "file", "audio_filepath")
HYPOTHESES = ("hypothesis", "hypo", "hyp", "prediction", "pred_text", "pred", "text")
REFERENCES = ("reference", "ref", "target", "transcript", "label", "ground_truth", "text")
SECONDS = ("seconds", "duration")
"""Names of columns, the first that is there counts. `text` is the reference beside another hypothesis."""


def read_csv(text: str, path: Path) -> Texts:
    """With a line of column names; parted by commas or, in a .tsv, by tabs."""
    tabs = path.suffix.lower() == ".tsv"
    try:
        rows = list(csv.DictReader(io.StringIO(text), delimiter="\t" if tabs else ",", strict=True))
    except csv.Error as error:
        raise ValueError(f"{path}: {error}; expected a table with a line of column names") from None
    return _of_rows(rows, path)


def read_json_lines(text: str, path: Path) -> Texts:
    rows = [_parsed(line, f"{path}:{number}") for number, line in enumerate(text.splitlines(), 1) if line]
    return _of_rows(rows, path)


def read_json(text: str, path: Path) -> Texts:
    """A list of rows, columns (name -> list), or id -> hypothesis."""
    found = _parsed(text, str(path))
    if isinstance(found, Mapping):
        if any(isinstance(column, list) for column in found.values()):
            return _of_rows(_rows_of_columns(found, path), path)
        found = [{"id": key, "hypothesis": value} for key, value in found.items()]
    return _of_rows(found, path)


def _parsed(text: str, where: str) -> Any:
    try:
        return json.loads(text)
    except (json.JSONDecodeError, RecursionError) as error:
        raise ValueError(f"{where}: found no JSON: {error}") from None


def _rows_of_columns(columns: Mapping[str, Any], path: Path) -> list[dict[str, Any]]:
    lists = {name: column for name, column in columns.items() if isinstance(column, list)}
    lengths = {
        name: len(column) for name, column in lists.items() if name in {*IDS, *HYPOTHESES, *REFERENCES}
    }
    if len(set(lengths.values())) > 1:
        raise ValueError(f"{path}: found columns of unequal lengths: {lengths}")
    count = next(iter(lengths.values()), 0)
    return [
        {name: column[row] for name, column in lists.items() if len(column) == count} for row in range(count)
    ]


def _of_rows(rows: Any, path: Path) -> Texts:
    if not isinstance(rows, list) or not all(isinstance(row, Mapping) for row in rows):
        raise ValueError(f"{path}: expected rows with names, such as id, reference, hypothesis")
    names = list(rows[0]) if rows else []
    hypothesis = _first(HYPOTHESES, names)
    if hypothesis is None:
        raise ValueError(
            f"{path}: found no hypotheses; expected a column {', '.join(HYPOTHESES)}, found: "
            f"{', '.join(map(str, names)) or 'none'}"
        )
    reference = _first([name for name in REFERENCES if name != hypothesis], names)
    key, seconds = _first(IDS, names), _first(SECONDS, names)
    return Texts(
        source=str(path),
        # Without ids clips are known by their place.
        ids=[str(place) for place in range(len(rows))] if key is None else _column(rows, key, path),
        hypotheses=_column(rows, hypothesis, path),
        references=None if reference is None else _column(rows, reference, path),
        seconds=() if seconds is None else [_number(row.get(seconds)) for row in rows],
    )


def _first(wanted: Sequence[str], names: Sequence[str]) -> str | None:
    """The name in the table that means the first of those wanted."""
    by_lower = {str(name).lower(): name for name in names}
    return next((by_lower[name] for name in wanted if name in by_lower), None)


def _column(rows: Sequence[Mapping[str, Any]], name: str, path: Path) -> list[str]:
    values = []
    for number, row in enumerate(rows, 1):
        value = row.get(name)
        if isinstance(value, list) and all(isinstance(word, str) for word in value):
            value = " ".join(value)
        if not isinstance(value, str | int | float):
            raise ValueError(f"{path}: row {number}: expected text under {name}, found {value!r}"[:300])
        values.append(str(value))
    return values


def _number(value: Any) -> float | None:
    try:
        return float(value)
    except (TypeError, ValueError):
        return None
