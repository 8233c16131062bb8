"""Copying a label file, and what lies beside it line for line, without some of its lines. Knows no "
"columns."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from datamodules.files import whole_or_nothing

MANIFEST_SUFFIX = ".tsv"
BESIDE_SUFFIXES = (".wrd", ".km", ".cluster_counts")
"""Files with a line for each clip of the .tsv they lie beside."""


def num_header_lines(path: Path) -> int:
    """Lines before the first clip: a manifest begins with its root."""
    return 1 if path.suffix == MANIFEST_SUFFIX else 0


def clip_lines(path: Path) -> list[int]:
    """Numbers, from 1, of the lines that stand for clips."""
    return list(range(num_header_lines(path) + 1, len(_lines(path)) + 1))


def copy(path: Path, target: Path, leave_out: Collection[int]) -> list[Path]:
    """Write `path` without the lines `leave_out` to `target`, and the files beside it likewise.

    Returns what was written, each whole or not there. Bytes are kept as they are, in whatever encoding.
    """
    header = num_header_lines(path)
    written = []
    if path.suffix == MANIFEST_SUFFIX:
        # The .tsv comes last: where it is, the rest is.
        for suffix in BESIDE_SUFFIXES:
            beside = path.with_suffix(suffix)
            if beside.is_file():
                rows = {line - header for line in leave_out}
                written.append(_copy(beside, target.with_suffix(suffix), rows))
    return [_copy(path, target, leave_out), *written]


def _copy(path: Path, target: Path, leave_out: Collection[int]) -> Path:
    lines = _lines(path)
    kept = [line for number, line in enumerate(lines, start=1) if number not in leave_out]
    with whole_or_nothing(target) as temporary:
        temporary.write_bytes(b"".join(line + b"\n" for line in kept))
    return target


def _lines(path: Path) -> list[bytes]:
    content = path.read_bytes().removesuffix(b"\n")
    return content.split(b"\n") if content else []
