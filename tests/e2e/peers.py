"""The further processes of a run on several: forks made before it begins, in place of new interpreters.

    python -m tests.e2e.peers WORDS

runs `python WORDS`. A fork of a program that is under way would share what it has begun; so one waits for
each `--gpus` beyond the first, as clean as the program's own, until `subprocess.Popen` is asked for a Python.
"""

from __future__ import annotations

import json
import os
import runpy
import subprocess
import sys
from typing import Any

_waiting: list[tuple[int, int]] = []
"""(process, where its order is written) of each."""


class Popen(subprocess.Popen):
    """A Python is one of those that wait, while there are any; all else is as ever."""

    def _execute_child(self, args: Any, *more: Any) -> None:
        if not (_waiting and isinstance(args, list) and args[0] == sys.executable):
            super()._execute_child(args, *more)
            return
        environment = more[5]
        self.pid, order = _waiting.pop(0)
        self._child_created = True
        told = {"words": args[1:], "env": dict(os.environ if environment is None else environment)}
        with os.fdopen(order, "w") as pipe:
            json.dump(told, pipe)


def count(words: list[str]) -> int:
    """How many a program will start."""
    return int(words[words.index("--gpus") + 1]) - 1 if "--gpus" in words else 0


def prepare(words: list[str]) -> list[str]:
    """The words of the program, and in each further process, once it is asked for, those of its own."""
    for _ in range(count(words)):
        reading, writing = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(writing)
            return _when_asked(reading)
        os.close(reading)
        _waiting.append((pid, writing))
    subprocess.Popen = Popen
    return words


def _when_asked(reading: int) -> list[str]:
    for _, writing in _waiting:
        os.close(writing)
    _waiting.clear()
    with os.fdopen(reading) as pipe:
        text = pipe.read()
    if not text:  # the program has ended without
        os._exit(0)
    order = json.loads(text)
    os.environ.clear()
    os.environ.update(order["env"])
    return order["words"]


def main() -> None:
    words = prepare(sys.argv[1:])
    if words[0] == "-m":
        sys.argv = words[1:]
        runpy.run_module(words[1], run_name="__main__", alter_sys=True)
    else:
        sys.argv = words
        runpy.run_path(words[0], run_name="__main__")


if __name__ == "__main__":
    main()
