"""Runs programs in forks of one process that has imported their libraries: fifteen seconds each, once.

CUDA does not survive a fork: for machines without a GPU.
"""

from __future__ import annotations

import importlib
import json
import os
import runpy
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO

IMPORTS = (
    "av",
    "jiwer",
    "peft",
    "torchaudio",
    "transformers.models.llama.modeling_llama",
    "transformers.models.whisper.modeling_whisper",
    "llama_avsr.evaluation.run",
    "llama_avsr.training.run",
    "llama_avsr.transcription.loading",
)
MAX_ORDER_BYTES = 1 << 20


def is_possible() -> bool:
    """Whether programs may be forked here."""
    return sys.platform == "linux" and not Path("/dev/nvidiactl").exists()


class Warm:
    """The process that forks. env: of its imports; what libraries read then holds for all programs."""

    def __init__(self, env: Mapping[str, str], cwd: Path | None = None) -> None:
        self._lock = threading.Lock()
        self._orders, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._server = subprocess.Popen(
                [sys.executable, "-m", __name__, str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                cwd=cwd,
                env=dict(env),
            )

    def start(
        self,
        words: Sequence[str],
        env: Mapping[str, str],
        cwd: Path,
        out: int,
        err: int,
        leads_session: bool = False,
    ) -> IO[str]:
        """Have a program run as `python WORDS` (a script or `-m` and a module, and its arguments).

        out, err: descriptors for what it says. Returns what is told of it: its process id and, when it has
        ended, its exit code, a line each; nothing more where this process has died.
        """
        order = {"words": list(words), "env": dict(env), "cwd": str(cwd), "leads_session": leads_session}
        told, telling = os.pipe()
        try:
            with self._lock:
                socket.send_fds(self._orders, [json.dumps(order).encode()], [out, err, telling])
        finally:
            os.close(telling)
        return open(told, encoding="ascii")

    def close(self) -> None:
        """Programs that are under way go on."""
        self._orders.close()
        self._server.wait()


def serve(orders: socket.socket) -> list[str] | None:
    """The words of a program, in its process; None in the server, at the end."""
    # A terminal's Ctrl-C is for the programs.
    interrupt = signal.signal(signal.SIGINT, signal.SIG_IGN)
    while True:
        message, descriptors, _, _ = socket.recv_fds(orders, MAX_ORDER_BYTES, 3)
        if not message:
            return None
        out, err, telling = descriptors
        if os.fork() == 0:
            orders.close()
            _watch_in_parent(out, err, telling)
            signal.signal(signal.SIGINT, interrupt)
            order = json.loads(message)
            _become(order, out, err)
            return order["words"]
        for descriptor in descriptors:
            os.close(descriptor)
        with suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass


def _watch_in_parent(out: int, err: int, telling: int) -> None:
    """Fork; the parent waits for its child, tells of it, and never returns."""
    pid = os.fork()
    if pid == 0:
        os.close(telling)
        return
    os.close(out)
    os.close(err)
    with suppress(BrokenPipeError):
        os.write(telling, f"{pid}\n".encode())
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    with suppress(BrokenPipeError):
        os.write(telling, f"{code}\n".encode())
    os._exit(0)


def _become(order: Mapping[str, object], out: int, err: int) -> None:
    if order["leads_session"]:
        os.setsid()
    for number, descriptor in ((1, out), (2, err)):
        os.dup2(descriptor, number)
    for descriptor in {out, err} - {1, 2}:
        os.close(descriptor)
    os.chdir(order["cwd"])
    os.environ.clear()
    os.environ.update(order["env"])
    sys.stdout.reconfigure(line_buffering=True)


def main() -> None:
    for name in IMPORTS:
        with suppress(ImportError):  # the program that needs it says so
            importlib.import_module(name)
    words = serve(socket.socket(fileno=int(sys.argv[1])))
    if words is None:
        return
    if words[0] == "-m":
        sys.argv = words[1:]
        runpy.run_module(words[1], run_name="__main__", alter_sys=True)
    else:
        sys.argv = words
        runpy.run_path(words[0], run_name="__main__")


if __name__ == "__main__":
    main()
