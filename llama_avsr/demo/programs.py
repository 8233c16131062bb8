"""What the demos share: calling the programs as a user would, and folders of runs that are found again."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import IO

from datamodules.files import write_whole
from llama_avsr.demo import warm

ROOT = Path(__file__).parents[2]
SETTINGS_FILE = "demo.json"
SECONDS_FILE = "train_seconds.json"
SHOWN = ("| ETA", "  WER", "  BLEU", " on demo_", "clips  ", "average of", "tokens a frame", "held-out WER")
"""What of the programs' output is for the screen."""
_SERVER_LOCK = threading.Lock()


def call(name: str | None, log: Path, program: str, *flags: object) -> None:
    """Run a command of `llama-avsr`, or a module where `program` has a dot, from where the user is.

    All it says goes to `log`, what matters to the screen, after `[name]`. Leaves where it fails.
    """
    module = (program,) if "." in program else ("llama_avsr", program)
    words = ["-m", *module, *map(str, flags)]
    prefix = "" if name is None else f"[{name}] "
    print(f"{prefix}$ python {shlex.join(words)}", flush=True)
    # Jobs side by side, one thread each: threads that wait for each other on busy cores crawl.
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
    if (ROOT / "pyproject.toml").is_file():  # a checkout, which need not be installed
        path = filter(None, (str(ROOT), environment.get("PYTHONPATH")))
        environment["PYTHONPATH"] = os.pathsep.join(path)
    with log.open("a", encoding="utf-8") as file, _running(words, environment) as (output, ended):
        lines = list(_shown(output, file, prefix))
        code = ended()
    if code:
        print("\n".join(lines[-15:]))
        sys.exit(f"{program} failed; {log} holds all of it")


@contextmanager
def _running(
    words: Sequence[str], environment: Mapping[str, str]
) -> Iterator[tuple[IO[str], Callable[[], int]]]:
    """What `python WORDS` says, and what waits for its exit code."""
    if not warm.is_possible():
        with subprocess.Popen(
            [sys.executable, *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=environment,
        ) as process:
            yield process.stdout, process.wait
        return
    read, write = os.pipe()
    with open(read, encoding="utf-8", errors="replace") as output:
        try:
            told = _server(environment).start(words, environment, Path.cwd(), write, write)
        finally:
            os.close(write)
        with told:
            yield output, lambda: _code(told.read().split())


def _code(told: Sequence[str]) -> int:
    """Of what is told of a program: its process id and, if it came to an end, its exit code."""
    return int(told[1]) if len(told) == 2 else 1


def _server(environment: Mapping[str, str]) -> warm.Warm:
    with _SERVER_LOCK:
        return _start_server(frozenset(environment.items()))


@lru_cache(maxsize=1)
def _start_server(environment: frozenset[tuple[str, str]]) -> warm.Warm:
    return warm.Warm(dict(environment))


def _shown(output: IO[str], file: IO[str], prefix: str) -> Iterator[str]:
    for line in output:
        file.write(line)
        file.flush()
        if any(sign in line for sign in SHOWN):
            print(f"{prefix}{line.rstrip()}", flush=True)
        yield line.rstrip()


def side_by_side(jobs: int, tasks: Sequence[Callable[[], None]]) -> None:
    """Do all of it, `jobs` at a time; what one raises is raised."""
    with ThreadPoolExecutor(jobs) as pool:
        list(pool.map(lambda task: task(), tasks))


def train(
    exp_dir: Path,
    name: str,
    log: Path,
    *flags: object,
    program: str = "train",
    result: str = "average/model.safetensors",
) -> None:
    """Train `exp_dir/name`, unless it has its `result`: one that was interrupted goes on."""
    folder = exp_dir / name
    if (folder / result).is_file():
        print(f"[{name}] {folder} is already trained; --fresh trains it again", flush=True)
        return
    begun = any((folder / "checkpoints").glob("[!.]*step=*"))
    if not begun:
        log.unlink(missing_ok=True)
    more = ("--ckpt-path", "last") if begun else ()
    start = time.perf_counter()
    call(name, log, program, *flags, "--exp-dir", exp_dir, "--exp-name", name, *more)
    if not begun:
        write_whole(folder / SECONDS_FILE, json.dumps(time.perf_counter() - start))


def train_seconds(folder: Path) -> float | None:
    """Wall time of the training; None where it was interrupted."""
    path = folder / SECONDS_FILE
    return json.loads(path.read_text()) if path.is_file() else None


def open_folder(exp_dir: Path, settings: Mapping[str, object], fresh: bool, made: Iterable[str]) -> None:
    """Have `exp_dir` ready for a demo with these `settings`: empty, or with what such a demo left there.

    made: names of the folders that the demo makes; `fresh` removes them.
    Raises ValueError where the folder holds the runs of a demo with other settings.
    """
    path = exp_dir / SETTINGS_FILE
    there = [exp_dir / name for name in made if (exp_dir / name).exists()]
    if fresh:
        for folder in there:
            shutil.rmtree(folder)
    elif there:
        found = json.loads(path.read_text()) if path.is_file() else None
        if found != dict(settings):
            before = "with other settings" if found is None else f"with {_in_words(found)}"
            raise ValueError(
                f"{exp_dir} holds a demo made {before}, this one has {_in_words(settings)}; choose another "
                "--exp-dir, or start over with --fresh, which removes "
                + ", ".join(folder.name for folder in there)
            )
    exp_dir.mkdir(parents=True, exist_ok=True)
    write_whole(path, json.dumps(dict(settings), indent=2) + "\n")


def _in_words(settings: Mapping[str, object]) -> str:
    return ", ".join(f"{name} {value}" for name, value in settings.items())
