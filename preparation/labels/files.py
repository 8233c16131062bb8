"""Label files and what lies beside them line for line: written together, or copied without some lines.

Knows no columns.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from contextlib import ExitStack
from pathlib import Path

from datamodules.files import whole_or_nothing
from datamodules.formats.avhubert_tsv import COUNTS_SUFFIX, TEXT_SUFFIX

MANIFEST_SUFFIX = ".tsv"
UNITS_SUFFIX = ".km"
_LINE = re.compile(rb"[^\r\n]*(?:\r*\n|\r)|[^\r\n]+")
BESIDE_SUFFIXES = (TEXT_SUFFIX, UNITS_SUFFIX, COUNTS_SUFFIX)
"""Files with a line for each clip of the .tsv they lie beside."""


def group_of(target: Path) -> list[Path]:
    """The files that make up a label file; the one that names the others' contents first."""
    beside = (TEXT_SUFFIX, COUNTS_SUFFIX) if target.suffix == MANIFEST_SUFFIX else ()
    return [target, *(target.with_suffix(suffix) for suffix in beside)]


def write_all(target: Path, contents: Mapping[str, str]) -> list[Path]:
    """Write the files beside `target` by suffix, whole or not at all; what was there before is gone.

    `target` itself appears last: without it nobody reads the others.
    """
    paths = [path for path in group_of(target) if path.suffix in contents]
    with ExitStack() as stack:
        temporaries = [stack.enter_context(whole_or_nothing(path)) for path in paths]
        for path, temporary in zip(paths, temporaries, strict=True):
            temporary.write_text(contents[path.suffix], encoding="utf-8", newline="")
        for path in group_of(target):
            path.unlink(missing_ok=True)
    return paths


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
    if kept and kept[-1][-1:] not in b"\r\n":
        kept[-1] += b"\n"
    with whole_or_nothing(target) as temporary:
        temporary.write_bytes(b"".join(kept))
    return target


def _lines(path: Path) -> list[bytes]:
    """With their ends, of whatever system."""
    return _LINE.findall(path.read_bytes())
