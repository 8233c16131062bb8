"""Hypotheses of any system: our results folders, and the files that other systems write."""

from __future__ import annotations

from pathlib import Path

from llama_avsr.evaluation.hypotheses import fairseq, nist, tables
from llama_avsr.evaluation.hypotheses.texts import Texts
from llama_avsr.evaluation.report import HYPOTHESES_FILE

__all__ = ["Texts", "read"]

TABLES = {".csv": tables.read_csv, ".tsv": tables.read_csv, ".json": tables.read_json}
READERS = {
    **TABLES,
    ".jsonl": tables.read_json_lines,
    ".trn": nist.read_trn,
    ".ctm": nist.read_ctm,
    ".txt": fairseq.read,
    ".log": fairseq.read,
    ".out": fairseq.read,
}
"""Suffix -> reader."""


def read(path: Path) -> Texts:
    """The hypotheses of a results folder or a file, in the order of the file.

    Raises ValueError, naming the file, for what cannot be read.
    """
    file = path / HYPOTHESES_FILE if path.is_dir() else path
    if not file.is_file():
        expected = "a results folder" if path.is_dir() else "a results folder, or a file of hypotheses"
        raise ValueError(f"{file}: found no such file; expected {expected}")
    # `generate-test.txt` of fairseq is named in many ways, `hypo-12345` has no suffix.
    reader = READERS.get(file.suffix.lower(), fairseq.read)
    try:
        text = file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise ValueError(f"{file}: found bytes that are no UTF-8; expected text") from None
    return reader(text, file)
