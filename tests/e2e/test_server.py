"""The server of `transcribe.py --serve-api` as a process: it starts, answers, and stops when told to."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from pathlib import Path

import openai
import pytest

import llama_avsr
from llama_avsr.checkpoints import folder as checkpoint
from llama_avsr.options import to_dict
from tests import models
from tests.e2e.programs import ROOT, environment
from tests.speech import spoken
from tests.unit import media_files

pytestmark = pytest.mark.slow
PATIENCE_SECONDS = 240
QUICK = {"accelerator": "cpu", "num_beams": 2, "max_dec_tokens": 5}


def test_it_answers_until_it_is_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    made = models.folders(tmp_path / "models")
    options = to_dict(models.options(made, "audio"))
    checkpoint.write(tmp_path / "run", checkpoint.saved_state(models.build(made, "audio")), options)
    sound = media_files.write_wav(tmp_path / "talk.wav", spoken(1.0))
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = [
        ROOT / "transcribe.py",
        "--serve-api",
        "--port",
        port,
        "--pretrained-model-path",
        tmp_path / "run",
    ]
    words += ["--num-beams", 2, "--max-dec-tokens", 5, "--accelerator", "cpu", "--model-id", "tiny"]
    log = tmp_path / "log.txt"
    with (
        log.open("w") as file,
        subprocess.Popen(
            [sys.executable, *map(str, words)],
            stdout=subprocess.PIPE,
            stderr=file,
            text=True,
            cwd=ROOT,
            env={**environment(), "TMPDIR": str(scratch), "LLAMA_AVSR_API_KEY": "secret"},
        ) as server,
    ):
        try:
            assert f"http://127.0.0.1:{port}/v1" in server.stdout.readline(), log.read_text()
            client = openai.OpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key="secret")
            found = client.audio.transcriptions.create(file=sound, model="tiny").text
            assert found == llama_avsr.load(tmp_path / "run", **QUICK).transcribe(sound).text
            with pytest.raises(openai.AuthenticationError):
                client.with_options(api_key="guess").models.list()
            server.send_signal(signal.SIGTERM)
            assert server.wait(PATIENCE_SECONDS) == 128 + signal.SIGTERM, log.read_text()
        finally:
            server.kill()
    assert "stopped by SIGTERM" in log.read_text()
    assert "Traceback" not in log.read_text()
    assert list(scratch.glob("llama_avsr_server_*")) == []
