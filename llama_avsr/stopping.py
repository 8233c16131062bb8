"""Signals that stop a program: Ctrl-C (SIGINT), SIGTERM, and SIGUSR1, SLURM's word that time is nearly up.

Within `listening` a signal ends the work at once through an exception, KeyboardInterrupt for Ctrl-C and
Stopped for the others. Within `asking` it is a request, which the work reads with `requested` where it can
stop without loss. A second Ctrl-C leaves without further ado, and so does a program that shows no sign of
life (`alive`) for so long after it was told to stop: a thread watches, as Python hears of no signal while it
waits in a library, for another process, say.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
import threading
import time
from collections.abc import Iterator
from types import FrameType

STOP_SECONDS = 45.0
"""From a signal, or the last sign of life after it, to the forced end."""
SAVING_SECONDS = 900.0
"""The same while a checkpoint is written."""
ORPHAN_SECONDS = 10.0
"""From the end of a process to that of those that it has started."""
BOUNCE_SECONDS = 0.3
"""A second signal that soon is the first one's echo: a terminal and a launcher both pass it on."""
END = b"\0"
"""No signal's number."""
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)


class Stopped(BaseException):
    """A signal said to stop. No Exception: what goes on after errors must not go on after this one."""

    def __init__(self, signum: int, said: str = "") -> None:
        """said: what a person should know, such as how to go on."""
        super().__init__(signum, said)
        self.signum, self.said = signum, said


class _State:
    def __init__(self) -> None:
        self.listening = False
        self.mode = "interrupt"
        self.request: int | None = None
        self.deadline = float("inf")
        self.patience = STOP_SECONDS
        self.withdrawn = False


_state = _State()


def requested() -> int | None:
    """The signal that asks to stop; None is the rule."""
    return _state.request


def withdraw() -> None:
    """The request has been met, and the program goes on."""
    _state.request, _state.deadline, _state.withdrawn = None, float("inf"), True


def alive() -> None:
    """A sign of life: the work moves on and will come to where it stops."""
    if _state.request is not None:
        _state.deadline = time.monotonic() + _state.patience


@contextlib.contextmanager
def asking() -> Iterator[None]:
    """Signals are requests in here."""
    with _in_mode("ask"):
        yield


@contextlib.contextmanager
def stopping_at_once() -> Iterator[None]:
    """Ctrl-C is Stopped in here as well: libraries take KeyboardInterrupt for themselves."""
    with _in_mode("stop"):
        yield


@contextlib.contextmanager
def saving() -> Iterator[None]:
    """Something is written that must not be cut short."""
    before, _state.patience = _state.patience, SAVING_SECONDS
    alive()
    try:
        yield
    finally:
        _state.patience = before
        alive()


@contextlib.contextmanager
def listening() -> Iterator[None]:
    """Take the signals over; outside of a program's main thread, or a second time, nothing changes."""
    if _state.listening or threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {signum: signal.getsignal(signum) for signum in SIGNALS}
    ears, mouth = os.pipe()
    for end in (ears, mouth):
        os.set_blocking(end, False)
    _state.__init__()
    _state.listening = True
    for signum in SIGNALS:
        signal.signal(signum, _on_signal)
    wakeup = signal.set_wakeup_fd(mouth, warn_on_full_buffer=False)
    watcher = threading.Thread(target=_watch, args=(ears,), name="signals", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(wakeup)
        for signum, handler in before.items():
            signal.signal(signum, handler if handler is not None else signal.SIG_DFL)
        _state.__init__()
        os.write(mouth, END)  # closing it is no end: processes that were forked off may hold it
        watcher.join()
        os.close(mouth)
        os.close(ears)


def leave_with(pid: int) -> None:
    """End this process soon after its parent `pid`: waiting for it in a library, it would hear nothing."""

    def watch() -> None:
        while os.getppid() == pid:
            time.sleep(0.5)
        time.sleep(ORPHAN_SECONDS)
        os._exit(1)

    threading.Thread(target=watch, name="parent", daemon=True).start()


def _in_mode(mode: str) -> contextlib.AbstractContextManager[None]:
    @contextlib.contextmanager
    def switched() -> Iterator[None]:
        before, _state.mode = _state.mode, mode
        try:
            yield
        finally:
            _state.mode = before

    return switched()


def _on_signal(signum: int, frame: FrameType | None) -> None:
    """In the main thread, between two of its steps."""
    if _state.mode == "ask":
        _state.request = _state.request or signum
    elif signum == signal.SIGINT and _state.mode == "interrupt":
        raise KeyboardInterrupt
    else:
        raise Stopped(signum)


def _watch(ears: int) -> None:
    """In a thread of its own: the second Ctrl-C, and the end of patience."""
    first: tuple[int, float] | None = None
    while True:
        select.select([ears], [], [], 0.5)
        now = time.monotonic()
        try:
            heard = os.read(ears, 512)
        except BlockingIOError:
            heard = None
        if heard is not None and END in heard:
            return
        told = [number for number in heard or b"" if number in SIGNALS]
        if _state.withdrawn:
            first, _state.withdrawn = None, False
        if told and first is None:
            first = (told[0], now)
            _state.deadline = now + _state.patience
            if _state.mode == "ask" and _state.request is None:
                _state.request = told[0]
        elif first is not None and signal.SIGINT in told and now - first[1] > BOUNCE_SECONDS:
            _leave(signal.SIGINT, "exiting at once")
        if first is not None and now > _state.deadline:
            _leave(first[0], f"told to stop, but stuck for {STOP_SECONDS:.0f} s; exiting")


def _leave(signum: int, said: str) -> None:
    with contextlib.suppress(OSError):
        os.write(2, f"{os.path.basename(sys.argv[0])}: {said}\n".encode())
    os._exit(128 + signum)


def _in_child() -> None:
    """A process forked off starts as any other does: our pipe is not its own."""
    if _state.listening:
        _state.__init__()
        signal.set_wakeup_fd(-1)
        for signum in SIGNALS:
            signal.signal(signum, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)


os.register_at_fork(after_in_child=_in_child)
