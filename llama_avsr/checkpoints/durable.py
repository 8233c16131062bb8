"""Folders that are complete or not there, whatever instant the process dies at.

A folder is written as `.NAME.tmp` and renamed; one that it replaces is moved to `.NAME.old` in between. So
what is called `.tmp` is never complete, and what is called `.old` always was: `recover` tells them apart.
"""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

LOGGER = logging.getLogger(__name__)


@contextmanager
def replacing(folder: Path) -> Iterator[Path]:
    """An empty folder to write into, which becomes `folder` at the end, once it is on the disk."""
    recover(folder)
    temporary = _temporary(folder)
    temporary.mkdir(parents=True)
    try:
        yield temporary
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    for path in sorted(temporary.iterdir()):
        _sync(path)
    _sync(temporary)
    old = _old(folder)
    if folder.exists():
        os.replace(folder, old)
    os.replace(temporary, folder)
    _sync(folder.parent)
    if old.exists():
        shutil.rmtree(old)


def copy(source: Path, folder: Path) -> None:
    """A second name for a folder's files, or a copy where the file system has no such links."""
    with replacing(folder) as temporary:
        for path in sorted(source.iterdir()):
            try:
                os.link(path, temporary / path.name)
            except OSError:
                shutil.copy2(path, temporary / path.name)


def remove(folder: Path) -> None:
    """Remove a folder: it is there as a whole or, under its name, not at all."""
    temporary = _temporary(folder)
    if temporary.exists():
        shutil.rmtree(temporary)
    os.replace(folder, temporary)
    shutil.rmtree(temporary)


def recover(folder: Path) -> None:
    """Settle what a process that died while it replaced or removed `folder` has left beside it."""
    old, temporary = _old(folder), _temporary(folder)
    if old.exists():
        if folder.exists():
            LOGGER.info("%s: removed; a process died before it had, and %s is complete", old, folder.name)
            shutil.rmtree(old)
        else:
            LOGGER.info("%s: put back in place; a process died before it had replaced it", folder)
            os.replace(old, folder)
    if temporary.exists():
        LOGGER.info("%s: removed; a process died while it was writing or removing it", temporary)
        shutil.rmtree(temporary)


def recover_all(parent: Path) -> None:
    """`recover` for everything that was left in a folder."""
    names = {path.name[1:-4] for end in ("old", "tmp") for path in parent.glob(f".?*.{end}")}
    for name in sorted(names):
        recover(parent / name)


def _temporary(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}.tmp")


def _old(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}.old")


def _sync(path: Path) -> None:
    """Have the system write a file's contents, or a folder's names, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:  # some network file systems cannot do it for folders
        LOGGER.debug("%s: not synced: %s", path, error)
    finally:
        os.close(descriptor)
