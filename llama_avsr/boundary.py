"""Where every program ends: its exit code, and its errors in words.

0       done
1       transcription: some recording could not be used
2       what a file, a flag, a model or the machine caused: a sentence with the remedy
70      a fault of the program; --debug shows where
128+N   stopped by signal N: 130 Ctrl-C, 143 SIGTERM, 138 SIGUSR1
"""

from __future__ import annotations

import atexit
import contextlib
import logging
import os
import signal
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from llama_avsr.faults import explain, is_peer_loss
from llama_avsr.stopping import Stopped, leave_with, listening

LOGGER = logging.getLogger(__name__)
USERS, OURS = 2, 70
LEAVING_SECONDS = 15.0
LAUNCHED = "LLAMA_AVSR_LAUNCHED"
"""In processes that the first one of a run has started, which reports for them: its number (PID)."""


@dataclass(frozen=True)
class PeerEnd:
    """How another process of this run has ended."""

    code: int
    """To leave with."""
    said: str = ""
    """What to say of it, where it could say nothing itself."""


who_ended: list[Callable[[], PeerEnd | None]] = []
"""Asked, where another process is lost, for what is known of its end; `lightning.processes` knows."""


def run(main: Callable[[list[str]], int | None], argv: Sequence[str] | None = None) -> NoReturn:
    """Run a program and leave with its exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    code = code_of(lambda: main(words), program_name(), "--debug" in words)
    if code != 0 and _has_peers():
        _leave(code)
    sys.exit(code)


def code_of(work: Callable[[], int | None], name: str, debug: bool = False) -> int:
    """The exit code of a program's work: what it returns (nothing is 0), or what an exception comes to.

    name: that errors begin with. debug: show tracebacks, also where the log isn't set to.
    """
    if os.environ.get(LAUNCHED, "").isdigit():
        leave_with(int(os.environ[LAUNCHED]))
    with listening():
        try:
            code = work() or 0
            sys.stdout.flush()
            return code
        except Stopped as stop:
            return _stopped(name, stop.signum, stop.said)
        except KeyboardInterrupt:
            return _stopped(name, signal.SIGINT)
        except Exception as error:
            debug = debug or logging.getLogger("llama_avsr").isEnabledFor(logging.DEBUG)
            return _failed(name, error, debug)


def program_name() -> str:
    return Path(sys.argv[0]).name or "llama_avsr"


def program_called() -> str:
    """What a user types to run this program: `llama-avsr train`, `python train_LLM.py`."""
    name = program_name()
    if not name.endswith(".py"):
        return name
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    return f"python -m {spec.name.removesuffix('.__main__')}" if spec else f"python {name}"


def rank() -> int:
    """This process' number; 0 where there is but one."""
    for variable in ("RANK", "SLURM_PROCID", "LOCAL_RANK"):
        if os.environ.get(variable, "").isdigit():
            return int(os.environ[variable])
    return 0


def _failed(name: str, error: Exception, debug: bool) -> int:
    if isinstance(error, BrokenPipeError):
        # At its end Python would try once more, and complain.
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    if debug:
        LOGGER.error("traceback, because of --debug:", exc_info=error)
        if not logging.getLogger().handlers:
            traceback.print_exception(error)
    if _has_peers() and is_peer_loss(error):
        return _lost(name)
    fault = explain(error)
    if not fault.is_users:
        _say(name, f"internal error, not a mistake of yours: {fault.text}")
        _say(name, _how_to_report(error))
        return OURS
    for line in fault.text.splitlines():
        if line.strip():
            _say(name, f"error: {line}")
    if not fault.is_own_word and not debug:
        _say(name, "--debug shows where this comes from")
    return USERS


def _has_peers() -> bool:
    # Lightning takes WORLD_SIZE away when it is done, in order or not.
    return bool(who_ended) or LAUNCHED in os.environ or os.environ.get("WORLD_SIZE", "1") not in ("", "1")


def _lost(name: str) -> int:
    """Another process has ended, and all with it: its word is the last one, if it had any."""
    found = next((end for ask in who_ended if (end := ask()) is not None), None)
    if found is not None:
        if found.said:
            _say(name, f"error: {found.said}")
        return found.code
    if LAUNCHED not in os.environ:
        _say(name, "error: another process of this run has ended; what it said last is the reason")
    return USERS


def _leave(code: int) -> NoReturn:
    """End a process that others wait for: they hear of it when it is gone, so that its end must not hang.

    What is registered for the end is done, `LEAVING_SECONDS` at most; libraries are not taken down.
    """

    def force() -> None:
        time.sleep(LEAVING_SECONDS)
        os._exit(code)

    threading.Thread(target=force, name="end", daemon=True).start()
    with contextlib.suppress(Exception):
        atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)


def _how_to_report(error: Exception) -> str:
    """Hours of work may lie before it: the traceback is kept."""
    try:
        with tempfile.NamedTemporaryFile(
            "w", prefix="llama_avsr_fault_", suffix=".txt", delete=False, encoding="utf-8"
        ) as file:
            file.write(" ".join(sys.argv) + f"\nPython {sys.version}\n\n")
            traceback.print_exception(error, file=file)
    except OSError:
        return "please report it, with the command and what --debug shows"
    return f"please report it, with the command and {file.name}; --debug shows the same here"


def _stopped(name: str, signum: int, said: str = "") -> int:
    if said and LAUNCHED in os.environ:
        return 128 + signum  # agreed on by all: the first process says it
    what = "interrupted" if signum == signal.SIGINT else f"stopped by {signal.Signals(signum).name}"
    _say(name, f"{what}; {said}" if said else what)
    return 128 + signum


def _say(name: str, text: str) -> None:
    number = f"[process {rank()}] " if rank() > 0 else ""
    with contextlib.suppress(OSError, ValueError):
        print(f"{number}{name}: {text}", file=sys.stderr, flush=True)
