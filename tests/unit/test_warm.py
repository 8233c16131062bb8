"""Programs in forks of one process."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from llama_avsr.demo import warm
from llama_avsr.demo.warm import Warm

pytestmark = pytest.mark.skipif(not warm.is_possible(), reason="programs are forked on Linux without a GPU")
BARE = "import sys; from llama_avsr.demo import warm; warm.IMPORTS = (); warm.main()"  # imports nothing heavy


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Warm]:
    real = warm.subprocess.Popen

    def bare(words: list[str], **more: object):
        return real([sys.executable, "-c", BARE, words[-1]], **more)

    monkeypatch.setattr(warm.subprocess, "Popen", bare)
    made = Warm(os.environ, Path.cwd())
    yield made
    made.close()


def run(server: Warm, folder: Path, script: str, *words: str) -> tuple[str, list[int]]:
    """(what it says, its process id and exit code)"""
    path = folder / "script.py"
    path.write_text(script)
    read, write = os.pipe()
    told = server.start([str(path), *words], {**os.environ, "GIVEN": "x"}, folder, write, write)
    os.close(write)
    with open(read) as said, told:
        return said.read(), [int(word) for word in told.read().split()]


def test_words_environment_folder_output_and_code(server: Warm, tmp_path: Path) -> None:
    script = "import os, sys; print(sys.argv[1:], os.environ['GIVEN'], os.getcwd(), os.getpid()); sys.exit(3)"
    said, (pid, code) = run(server, tmp_path, script, "a", "b c")
    assert said == f"['a', 'b c'] x {tmp_path} {pid}\n"
    assert code == 3
    _, (_, code) = run(server, tmp_path, "import os; os.kill(os.getpid(), 9)")
    assert code == -9
    said, (_, code) = run(server, tmp_path, "raise KeyError('here')")
    assert "KeyError: 'here'" in said
    assert code == 1


def test_several_at_a_time(server: Warm, tmp_path: Path) -> None:
    waits = tmp_path / "waits.py"
    waits.write_text("import sys; print(open(sys.argv[1]).read())")
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    read, write = os.pipe()
    told = server.start([str(waits), str(pipe)], os.environ, tmp_path, write, write)
    os.close(write)
    said, _ = run(server, tmp_path, "print('second')")
    assert said == "second\n", "while the first is waiting"
    pipe.write_text("first")
    with open(read) as output, told:
        assert output.read() == "first\n"
        assert told.read().split()[1] == "0"


def test_who_waits_for_it_is_killed(server: Warm, tmp_path: Path) -> None:
    said, told = run(server, tmp_path, "import os; os.kill(os.getppid(), 9)")
    assert said == ""
    assert len(told) == 1, "no exit code"
