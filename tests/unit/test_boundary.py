"""What the exceptions of libraries come to: one sentence, with the file, and an exit code."""

from __future__ import annotations

import errno
import json
import os
import pickle
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import av
import pytest
import safetensors.torch
import torch
import transformers
import yaml

from datamodules.media import MediaError
from llama_avsr import boundary
from llama_avsr.boundary import PeerEnd, code_of
from llama_avsr.faults import explain
from llama_avsr.options import Options
from llama_avsr.stopping import Stopped
from llama_avsr.transcription import program
from llama_avsr.transcription.transcript import Transcript
from tests.e2e.programs import ROOT

GARBAGE = b"\xff\xfe\x00 nothing of the kind " * 20


def read_text(path: Path) -> None:
    path.read_text(encoding="utf-8")


def read_json(path: Path) -> None:
    json.loads(path.read_bytes().decode("latin-1"))


def read_pickle(path: Path) -> None:
    with path.open("rb") as file:
        pickle.load(file)


def read_tokenizer(path: Path) -> None:
    transformers.AutoTokenizer.from_pretrained(str(path.parent))


READERS: dict[str, Callable[[Path], object]] = {
    "safetensors": lambda path: safetensors.torch.load_file(path),
    "yaml": lambda path: yaml.safe_load(f"{path}: [1"),
    "json": read_json,
    "torch": lambda path: torch.load(path, weights_only=True),
    "zip": lambda path: zipfile.ZipFile(path),
    "pickle": read_pickle,
    "text": read_text,
    "av": lambda path: av.open(str(path)),
    "tokenizer": read_tokenizer,
}


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("kind", ["garbage", "empty"])
def test_a_file_that_is_no_such_file(
    reader: str, kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "config.json"
    path.write_bytes(GARBAGE if kind == "garbage" else b"")
    if kind == "empty" and reader == "text":
        pytest.skip("an empty text is one")
    code = code_of(lambda: READERS[reader](path), "program")
    error = capsys.readouterr().err
    assert code == 2, error
    assert "Traceback" not in error
    assert "config.json" in error or reader in ("json", "tokenizer", "yaml"), error
    assert len(error.splitlines()) <= 2, error
    assert error.startswith("program: error: "), error


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device", "/runs/x"),
        RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 704 vs 598"),
        RuntimeError(
            "[enforce fail at inline_container.cc:858] . PytorchStreamWriter failed writing file data/0"
        ),
        safetensors.SafetensorError(
            "Error while serializing: I/O error: No space left on device (os error 28)"
        ),
    ],
)
def test_a_full_disk(error: Exception, capsys: pytest.CaptureFixture[str]) -> None:
    """As the libraries that write say it."""
    assert code_of(raising(error), "program") == 2
    assert "free some" in capsys.readouterr().err


def raising(error: BaseException) -> Callable[[], None]:
    def work() -> None:
        raise error

    return work


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (PermissionError(errno.EACCES, "Permission denied", "/a/b"), 2, "/a/b: Permission denied; change"),
        (OSError(errno.EMFILE, "Too many open files"), 2, "ulimit -n"),
        (MemoryError(), 2, "out of memory"),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB."), 2, "smaller batches"),
        (RuntimeError("DataLoader worker (pid 12) is killed by signal: Killed. "), 2, "(pid 12)"),
        (RuntimeError("DataLoader worker (pid(s) 1, 2) exited unexpectedly"), 2, "fewer --num-workers"),
        (ModuleNotFoundError("No module named 'wandb'"), 2, "No module named 'wandb'"),
        (BrokenPipeError(errno.EPIPE, "Broken pipe"), 2, "Broken pipe"),
        (ValueError("first\nsecond"), 2, "error: first second"),
        (RuntimeError("mat1 and mat2 cannot be multiplied"), 70, "internal error"),
        (AssertionError(), 70, "AssertionError"),
        (KeyboardInterrupt(), 130, "interrupted"),
        (Stopped(15, "saved"), 143, "stopped by SIGTERM; saved"),
        (Stopped(10), 138, "SIGUSR1"),
    ],
)
def test_codes_and_words(
    error: BaseException, code: int, said: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert code_of(raising(error), "program") == code
    assert said in capfd.readouterr().err


def test_an_error_in_a_worker_loses_its_traceback() -> None:
    text = (
        "Caught ValueError in DataLoader worker process 0.\nOriginal Traceback (most recent call last):\n"
        '  File "x.py", line 3, in f\n    raise ValueError("a.mp4: too short")\n'
        "ValueError: a.mp4: too short\n"
    )
    fault = explain(ValueError(text))
    assert fault.is_users
    assert fault.text == "a.mp4: too short"


def test_who_lost_another_process_leaves_the_word_to_it(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    lost = RuntimeError("[../gloo/transport/tcp/pair.cc:534] Connection closed by peer [127.0.0.1]:3")
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert code_of(raising(lost), "program") == 2
    assert "another process" in capsys.readouterr().err
    monkeypatch.setenv(boundary.LAUNCHED, "of a parent")
    assert code_of(raising(lost), "program") == 2
    assert capsys.readouterr().err == ""
    for end, said in ((PeerEnd(70), ""), (PeerEnd(137, "process 1 was killed"), "process 1 was killed")):
        monkeypatch.setattr(boundary, "who_ended", [lambda end=end: end])
        assert code_of(raising(lost), "program") == end.code
        assert said in (error := capsys.readouterr().err)
        assert bool(said) == bool(error)


def test_nobody_reads_the_output() -> None:
    """The end of the interpreter is quiet, too."""
    script = "from llama_avsr import cli\ncli.run(lambda argv: print('x' * 10), [])"
    read, write = os.pipe()
    os.close(read)
    try:
        done = subprocess.run(
            [sys.executable, "-c", script], stdout=write, stderr=subprocess.PIPE, text=True, cwd=ROOT
        )
    finally:
        os.close(write)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr
    assert "Broken pipe" in done.stderr


def test_debug_is_heard_before_the_log_is_set_up(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(SystemExit):
        boundary.run(lambda argv: read_text(ROOT / "nowhere.txt"), ["--debug"])
    assert "Traceback" in caplog.text
    assert "FileNotFoundError" in caplog.text


def test_one_bad_recording_does_not_end_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    errors = [
        MediaError("a.mp4: cut off"),
        KeyError("x"),
        MemoryError(),
        RuntimeError("odd"),
        RecursionError(),
    ]
    paths = [tmp_path / f"{number}.mp4" for number in range(len(errors) + 1)]
    for path in paths:
        path.touch()
    tried = []

    def transcribe(transcriber: object, path: Path, options: Options) -> Transcript:
        tried.append(path)
        if len(tried) <= len(errors):
            raise errors[len(tried) - 1]
        return Transcript(
            path=path,
            segments=[],
            duration_s=1,
            media=("audio",),
            reason=None,
            notes=(),
            model="m",
            seconds={},
        )

    monkeypatch.setattr(program, "load_transcriber", lambda options, explicit: None)
    monkeypatch.setattr(program, "_transcribe", transcribe)
    options = Options().updated({"videos": tuple(paths)})
    assert program.run(options, ()) == program.FAILED
    assert tried == paths
    messages = [record.message for record in caplog.records if record.levelname == "ERROR"]
    assert len(messages) == len(errors)
    assert all(f"{number}.mp4" in message for number, message in enumerate(messages) if number)
    assert "internal error" in messages[1]
    assert "out of memory" in messages[2]
