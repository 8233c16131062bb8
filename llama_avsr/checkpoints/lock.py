"""One run, one owner: a lock file that says who it is.

The system's own lock on the file ends with the process, whatever ends it. Some network file systems keep such
locks on each machine alone: there the owner, which touches the file every minute, is believed.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

LOGGER = logging.getLogger(__name__)
NAME = "run.lock"
BEAT_SECONDS = 60.0
STALE_SECONDS = 5 * BEAT_SECONDS
RANKS = ("RANK", "SLURM_PROCID", "LOCAL_RANK", "NODE_RANK", "GROUP_RANK")
JOB = ("SLURM_JOB_ID", "SLURM_ARRAY_TASK_ID")


def is_first_process() -> bool:
    """Whether this is the first of a job's processes, as far as its environment says."""
    return all(os.environ.get(name, "0") in ("0", "") for name in RANKS)


@contextmanager
def owned(folder: Path) -> Iterator[None]:
    """Own a run's folder. The other processes of a job own nothing: their first one does it for them.

    Raises ValueError that names the owner's host, process and time where there is another.
    """
    if not is_first_process():
        yield
        return
    made = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / NAME
    descriptor = _take(path)
    beat = threading.Event()
    threading.Thread(target=_beat, args=(path, beat), daemon=True, name="run-lock").start()
    try:
        yield
    finally:
        beat.set()
        path.unlink(missing_ok=True)
        os.close(descriptor)
        if made and not any(folder.iterdir()):
            folder.rmdir()


def _take(path: Path) -> int:
    """An open descriptor that holds the lock."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            _check(path, descriptor)
        except BaseException:
            os.close(descriptor)
            raise
        if path.exists() and os.fstat(descriptor).st_ino == path.stat().st_ino:
            break
        os.close(descriptor)  # its owner has just removed it
    me = {"host": socket.gethostname(), "process": os.getpid(), "since": time.strftime("%Y-%m-%d %H:%M:%S")}
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, json.dumps({**me, "job": _job()}).encode(), 0)
    os.fsync(descriptor)
    return descriptor


def _check(path: Path, descriptor: int) -> None:
    """Raises ValueError where another process owns the run."""
    try:
        # Not flock: children that outlive the owner would hold that.
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        is_locked = False
    except (BlockingIOError, PermissionError):
        is_locked = True
    except OSError as error:
        LOGGER.debug("%s: no locks on this file system (%s)", path, error)
        is_locked = False
    owner = _read(descriptor)
    if is_locked or _may_live(owner, os.fstat(descriptor).st_mtime):
        raise ValueError(
            f"{path.parent}: another training owns this run: host {owner.get('host', 'unknown')}, process "
            f"{owner.get('process', 'unknown')}, since {owner.get('since', 'just now')}; wait for it, or "
            f"choose another --exp-name (if it is certain that it has ended: remove {path})"
        )
    if owner:
        LOGGER.info(
            "%s: left by process %s on %s, which has ended", path, owner.get("process"), owner.get("host")
        )


def _may_live(owner: dict[str, object], touched: float) -> bool:
    """Whether an owner that holds no lock that is seen from here may still be there, on another machine."""
    if not owner or owner.get("host") == socket.gethostname():
        return False
    if owner.get("job") and owner["job"] == _job():
        return False  # SLURM has started the same job again
    return time.time() - touched < STALE_SECONDS


def _read(descriptor: int) -> dict[str, object]:
    try:
        found = json.loads(os.pread(descriptor, 4096, 0))
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _job() -> str:
    return "_".join(os.environ[name] for name in JOB if os.environ.get(name))


def _beat(path: Path, ended: threading.Event) -> None:
    while not ended.wait(BEAT_SECONDS):
        try:
            os.utime(path)
        except OSError:
            return
