"""Rewriting the beginning of paths: label files name folders of the machine they were written on."""

from __future__ import annotations

from collections.abc import Sequence

Prefixes = Sequence[tuple[str, str]]
"""(old, new) pairs; the first that fits a path is used, the others are not asked. An empty `new` is "."."""


def parse(text: str) -> tuple[str, str]:
    """`OLD=NEW` as a pair; an empty NEW is the root folder.

    Raises:
        ValueError: no `=`, or nothing before it.
    """
    old, separator, new = text.partition("=")
    if not separator or not old.strip():
        raise ValueError(f"expected a path prefix OLD=NEW such as /path/to/lrs3=/data/lrs3, found {text!r}")
    return old, new


def fits(path: str, old: str) -> bool:
    """Whether `path` is `old` or lies below it; `/data/lrs3` is no prefix of `/data/lrs3_old`."""
    old = old.rstrip("/")
    return path == old or path.startswith(old + "/")


def rewrite(path: str, prefixes: Prefixes) -> str:
    """`path` with the first prefix that fits exchanged."""
    for old, new in prefixes:
        if fits(path, old):
            return (new or ".").rstrip("/") + path[len(old.rstrip("/")) :]
    return path
