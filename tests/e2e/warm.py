"""Runs programs in forks of one process that has imported their libraries: ten seconds each, once.

python -m tests.e2e.warm

A line of JSON in, {"words", "env", "cwd", "out", "err"}; two lines out: the number (PID) of the fork, which
leads a session of its own, and its return code.
"""

from __future__ import annotations

import atexit
import json
import os
import runpy
import select
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[2]


class Warm:
    """`run` stands in for subprocess.run of `python WORDS`."""

    def __init__(self, env: dict[str, str]) -> None:
        self.server = subprocess.Popen(
            [sys.executable, "-m", "tests.e2e.warm"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,  # or an answer could lie read already while it is waited for
            cwd=ROOT,
            env=env,
        )
        atexit.register(self.server.kill)

    def run(
        self, words: list[str], env: dict[str, str], timeout: float
    ) -> tuple[int, subprocess.CompletedProcess[str]]:
        """(its session, what became of it). words: a script and its arguments, or `-m` and a module's.

        Raises subprocess.TimeoutExpired when it has been killed for taking too long.
        """
        with tempfile.TemporaryDirectory() as folder:
            out, err = Path(folder, "out"), Path(folder, "err")
            order = {"words": words, "env": env, "cwd": str(ROOT), "out": str(out), "err": str(err)}
            self.server.stdin.write(json.dumps(order).encode() + b"\n")
            session = int(self.server.stdout.readline())
            in_time = select.select([self.server.stdout], [], [], timeout)[0]
            if not in_time:
                os.killpg(session, signal.SIGKILL)
            code = int(self.server.stdout.readline())
            said = out.read_text(errors="replace"), err.read_text(errors="replace")
        if not in_time:
            raise subprocess.TimeoutExpired(words, timeout, *said)
        return session, subprocess.CompletedProcess(words, code, *said)


def serve() -> list[str] | None:
    """The words of a program, in its fork; None in the server, at the end."""
    for line in sys.stdin:
        order = json.loads(line)
        pid = os.fork()
        if pid == 0:
            os.setsid()
            for number, path, flags in (
                (0, os.devnull, os.O_RDONLY),
                (1, order["out"], os.O_WRONLY | os.O_CREAT),
                (2, order["err"], os.O_WRONLY | os.O_CREAT | os.O_APPEND),
            ):
                os.dup2(os.open(path, flags, 0o600), number)
            os.chdir(order["cwd"])
            os.environ.clear()
            os.environ.update(order["env"])
            return order["words"]
        print(pid, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
    return None


def preload() -> None:
    import av  # noqa: F401
    import jiwer  # noqa: F401
    import peft  # noqa: F401
    import torchaudio  # noqa: F401
    import transformers.models.llama.modeling_llama
    import transformers.models.whisper.modeling_whisper  # noqa: F401

    import llama_avsr.evaluation.run
    import llama_avsr.training.run
    import llama_avsr.transcription.loading  # noqa: F401


def main() -> None:
    preload()
    words = serve()
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
