"""The server of `--serve-api`, over real sockets, with OpenAI's own client and a tiny model."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import openai
import pytest

import llama_avsr
from llama_avsr.checkpoints import folder as checkpoint
from llama_avsr.options import to_dict
from llama_avsr.server.limits import Limits
from llama_avsr.server.run import Server, answering, bound, config
from llama_avsr.transcription.outputs import as_srt, as_vtt
from llama_avsr.transcription.pipeline import Transcriber
from tests import models
from tests.speech import spoken
from tests.unit import media_files

QUICK = {"accelerator": "cpu", "num_beams": 2, "max_dec_tokens": 5}
MODEL = "tiny"
PATIENCE_SECONDS = 120
"""Machines that run tests may be busy."""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return models.folders(tmp_path_factory.mktemp("models"))


def load(made: dict[str, str], folder: Path, modality: str, **more: Any) -> Transcriber:
    model = models.build(made, modality, **more)
    checkpoint.write(folder, checkpoint.saved_state(model), to_dict(models.options(made, modality, **more)))
    return llama_avsr.load(folder, **QUICK)


@pytest.fixture(scope="module")
def transcriber(made: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Transcriber:
    return load(made, tmp_path_factory.mktemp("run") / "asr", "audio")


@pytest.fixture(scope="module")
def sounds(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Ten recordings of one to three stretches of speech each, all different."""
    folder, rng = tmp_path_factory.mktemp("sounds"), np.random.default_rng(1)
    paths = []
    for index in range(10):
        parts = [
            part
            for _ in range(1 + index % 3)
            for part in (spoken(rng.uniform(0.8, 1.2), rng.uniform(0, 5)), np.zeros(16000))
        ]
        paths.append(media_files.write_wav(folder / f"talk{index}.wav", np.concatenate(parts)))
    return paths


class Gated:
    """A transcriber whose model waits until it may begin."""

    def __init__(self, transcriber: Transcriber) -> None:
        self._transcriber = transcriber
        self.gate, self.began = threading.Event(), threading.Event()
        self.passes: list[int] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transcriber, name)

    def decode(self, jobs: Any) -> Any:
        self.began.set()
        assert self.gate.wait(PATIENCE_SECONDS)
        self.passes.append(len(jobs))
        return self._transcriber.decode(jobs)


@dataclass(frozen=True)
class Running:
    url: str
    port: int

    def client(self, **more: Any) -> openai.OpenAI:
        return openai.OpenAI(base_url=f"{self.url}/v1", **{"api_key": "none", "max_retries": 0, **more})

    def health(self) -> dict[str, Any]:
        return httpx.get(f"{self.url}/health", trust_env=False).json()

    def metric(self, name: str, key: str = "none") -> float:
        headers = {"Authorization": f"Bearer {key}"}
        text = httpx.get(f"{self.url}/metrics", headers=headers, trust_env=False).text
        found = re.findall(rf"^llama_avsr_{re.escape(name)} (\S+)$", text, re.MULTILINE)
        assert found, text
        return float(found[0])


@contextlib.contextmanager
def running(transcriber: Any, *, keys: tuple[str, ...] = (), **limits: Any) -> Iterator[Running]:
    with (
        bound("127.0.0.1", 0) as listener,
        answering(transcriber, list(keys), MODEL, Limits(**limits)) as app,
    ):
        port = listener.getsockname()[1]
        server = Server(config(app))
        thread = threading.Thread(target=lambda: server.run(sockets=[listener]))
        thread.start()
        try:
            until(lambda: server.started)
            yield Running(f"http://127.0.0.1:{port}", port)
        finally:
            if isinstance(transcriber, Gated):
                transcriber.gate.set()
            server.should_exit = True
            thread.join()


@pytest.fixture(scope="module")
def server(transcriber: Transcriber) -> Iterator[Running]:
    with running(transcriber) as found:
        yield found


@pytest.fixture(autouse=True)
def _quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    """No proxy is asked; and random models repeat themselves, which is not what is tested here."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr("llama_avsr.transcription.loops.is_loop", lambda text, finished: False)


def until(true: Callable[[], Any]) -> Any:
    end = time.monotonic() + PATIENCE_SECONDS
    while not (found := true()):
        assert time.monotonic() < end, f"waited {PATIENCE_SECONDS} s in vain"
        time.sleep(0.02)
    return found


def ask(server: Running, path: Path, **more: Any) -> Any:
    with path.open("rb") as file:
        return server.client().audio.transcriptions.create(file=file, model=MODEL, **more)


def test_every_format_says_what_the_transcriber_does(
    server: Running, transcriber: Transcriber, sounds: list[Path]
) -> None:
    path = sounds[2]
    wanted = transcriber.transcribe(path)
    assert len(wanted.segments) == 3
    assert wanted.text
    assert ask(server, path, language="en", temperature=0, prompt="").text == wanted.text
    assert ask(server, path, response_format="text") == f"{wanted.text}\n"
    assert ask(server, path, response_format="srt") == as_srt(wanted)
    assert ask(server, path, response_format="vtt") == as_vtt(wanted)
    found = ask(server, path, response_format="verbose_json", timestamp_granularities=["segment"])
    assert (found.text, found.language) == (wanted.text, "english")
    assert found.duration == pytest.approx(wanted.duration_s, abs=1e-3)
    assert [(s.id, s.text) for s in found.segments] == [(i, s.text) for i, s in enumerate(wanted.segments)]
    for one, own in zip(found.segments, wanted.segments, strict=True):
        assert (one.start, one.end) == pytest.approx((own.start_s, own.end_s), abs=1e-3)
        assert one.avg_logprob == pytest.approx(own.score, abs=1e-3)
    assert found.words is None


def test_a_stream_brings_the_segments_one_by_one(
    server: Running, transcriber: Transcriber, sounds: list[Path]
) -> None:
    wanted = transcriber.transcribe(sounds[2])
    events = list(ask(server, sounds[2], stream=True))
    assert [event.type for event in events] == ["transcript.text.delta"] * 3 + ["transcript.text.done"]
    assert "".join(event.delta for event in events[:-1]) == events[-1].text == wanted.text


def test_models(server: Running) -> None:
    client = server.client()
    assert [model.id for model in client.models.list()] == [MODEL]
    assert client.models.retrieve(MODEL).owned_by == "llama-avsr"
    with pytest.raises(openai.NotFoundError, match="found no model 'other'"):
        client.models.retrieve("other")


def test_a_video_is_taken(made: dict[str, str], tmp_path: Path) -> None:
    model = load(made, tmp_path / "avsr", "audiovisual", modality_dropout=0.2)
    video = media_files.write_video(tmp_path / "a.mp4", media_files.moving_bar(50), waveform=spoken(2.0))
    with running(model) as server:
        for modality in (None, "video"):
            fields = {} if modality is None else {"modality": modality}
            wanted = model.transcribe(video, already_cropped=True, modality=modality)
            found = ask(
                server, video, extra_body={"already_cropped": True, **fields}, response_format="verbose_json"
            )
            assert (found.text, found.segments[0].media) == (wanted.text, list(wanted.media))
        assert wanted.media == ("video",)
        with pytest.raises(
            openai.BadRequestError, match=r"a\.mp4: no face was found; modality=audio uses sound"
        ):
            ask(server, video, extra_body={"modality": "video"})


def test_fifty_at_one_time_share_passes_and_get_their_own_words(
    transcriber: Transcriber, sounds: list[Path]
) -> None:
    wanted = {path: transcriber.transcribe(path) for path in sounds}
    assert len({transcript.text for transcript in wanted.values()}) > 5
    asked = sounds * 5
    gated = Gated(transcriber)

    async def ask_all(server: Running) -> list[str]:
        async with openai.AsyncOpenAI(
            base_url=f"{server.url}/v1", api_key="none", max_retries=0, timeout=PATIENCE_SECONDS
        ) as client:
            asking = [
                asyncio.create_task(
                    client.audio.transcriptions.create(file=(path.name, path.read_bytes()), model=MODEL)
                )
                for path in asked
            ]
            # All have been read; the first group waits at the gate.
            pieces = sum(len(wanted[path].segments) for path in asked)
            while server_waits(server) < pieces * 0.9:
                await asyncio.sleep(0.05)
            gated.gate.set()
            return [found.text for found in await asyncio.gather(*asking)]

    def server_waits(server: Running) -> float:
        return server.metric("pieces_waiting")

    with running(gated) as server:
        assert asyncio.run(ask_all(server)) == [wanted[path].text for path in asked]
        assert server.health()["requests_in_hand"] == 0
        assert server.metric('requests_total{status="200"}') == 50
        seconds = sum(wanted[path].duration_s for path in asked)
        assert server.metric("recording_seconds_total") == pytest.approx(seconds)
    assert max(gated.passes) > 5
    assert len(gated.passes) < sum(gated.passes) == sum(len(wanted[path].segments) for path in asked)


def test_who_finds_no_place_is_told_to_come_back(transcriber: Transcriber, sounds: list[Path]) -> None:
    gated = Gated(transcriber)
    with running(gated, requests=1) as server:
        found: list[str] = []
        first = threading.Thread(target=lambda: found.append(ask(server, sounds[0]).text))
        first.start()
        until(lambda: server.health()["requests_in_hand"] == 1)
        with pytest.raises(openai.RateLimitError, match="try again later") as refused:
            ask(server, sounds[1])
        assert refused.value.response.headers["retry-after"] == "2"
        gated.gate.set()
        first.join()
        assert found == [transcriber.transcribe(sounds[0]).text]
        assert ask(server, sounds[1]).text


def request_head(port: int, length: int) -> bytes:
    return (
        f"POST /v1/audio/transcriptions HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Length: {length}\r\n"
        "Content-Type: multipart/form-data; boundary=XX\r\n\r\n"
    ).encode()


def form(path: Path, **fields: str) -> bytes:
    parts = [
        f'--XX\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
        for name, value in {"model": MODEL, **fields}.items()
    ]
    head = f'--XX\r\nContent-Disposition: form-data; name="file"; filename="{path.name}"\r\n\r\n'.encode()
    return b"".join(parts) + head + path.read_bytes() + b"\r\n--XX--\r\n"


@pytest.mark.parametrize("stream", ["false", "true"])
def test_a_client_that_hangs_up_frees_its_place(
    transcriber: Transcriber, sounds: list[Path], stream: str
) -> None:
    gated = Gated(transcriber)
    found: list[str] = []
    with running(gated, requests=2) as server:
        first = threading.Thread(target=lambda: found.append(ask(server, sounds[0]).text))
        first.start()
        assert gated.began.wait(PATIENCE_SECONDS)
        for _ in range(3):
            body = form(sounds[2], stream=stream)
            with socket.create_connection(("127.0.0.1", server.port)) as client:
                client.sendall(request_head(server.port, len(body)) + body)
                until(lambda: server.metric("pieces_waiting") == 3)
                assert server.health()["requests_in_hand"] == 2
            until(lambda: server.health()["requests_in_hand"] == 1)
            # What the model had not begun has left with the client.
            assert server.metric("pieces_waiting") == 0
        gated.gate.set()
        first.join()
    assert found == [transcriber.transcribe(sounds[0]).text]


def test_a_client_that_hangs_up_during_its_upload_leaves_nothing(
    transcriber: Transcriber, sounds: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    body = form(sounds[2])
    with running(transcriber, requests=1) as server:
        with socket.create_connection(("127.0.0.1", server.port)) as client:
            client.sendall(request_head(server.port, len(body)) + body[: len(body) // 2])
            until(lambda: server.health()["requests_in_hand"] == 1)
            until(lambda: list(tmp_path.rglob("recording.wav")))
        until(lambda: server.health()["requests_in_hand"] == 0)
        assert list(tmp_path.rglob("recording.wav")) == []
        assert ask(server, sounds[0]).text
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("fields", "said", "param"),
    [
        ({"language": "fr"}, "language: found 'fr'; this server transcribes English speech", "language"),
        ({"prompt": "about whales"}, "takes no prompt", "prompt"),
        ({"temperature": 0.5}, "decodes by beam search, expected 0", "temperature"),
        (
            {"response_format": "verbose_json", "timestamp_granularities": ["word"]},
            "no times for words",
            "timestamp_granularities",
        ),
        ({"timestamp_granularities": ["segment"]}, "needs response_format", "timestamp_granularities"),
        ({"response_format": "diarized_json"}, "expected one of json, text, srt", "response_format"),
        ({"stream": True, "response_format": "srt"}, "needs response_format json or text", "stream"),
        ({"include": ["logprobs"]}, "nothing can be included", "include"),
        ({"extra_body": {"modalty": "audio"}}, "did you mean modality", "modalty"),
        ({"extra_body": {"modality": "smell"}}, "found modality 'smell'", "modality"),
        ({"extra_body": {"modality": "video"}}, "the model takes sound only", "file"),
    ],
)
def test_what_cannot_be_done_is_said(
    server: Running, sounds: list[Path], fields: dict[str, Any], said: str, param: str
) -> None:
    with pytest.raises(openai.BadRequestError, match=re.escape(said)) as refused:
        ask(server, sounds[0], **fields)
    assert refused.value.param == param
    assert refused.value.type == "invalid_request_error"


def test_another_model_is_not_found(server: Running, sounds: list[Path]) -> None:
    with pytest.raises(openai.NotFoundError, match="found 'whisper-1', this server has tiny") as refused:
        server.client().audio.transcriptions.create(file=sounds[0], model="whisper-1")
    assert refused.value.code == "model_not_found"


def test_broken_uploads(server: Running, sounds: list[Path], tmp_path: Path) -> None:
    broken, empty = tmp_path / "talk.mp4", tmp_path / "empty.wav"
    broken.write_bytes(b"this is no video" * 100)
    empty.touch()
    for path in (broken, empty):
        with pytest.raises(openai.BadRequestError, match=f"- {path.name}: cannot be decoded") as refused:
            ask(server, path)
        assert str(tmp_path) not in refused.value.message
        assert "llama_avsr_server" not in refused.value.message
    kinds = {"Content-Type": "multipart/form-data; boundary=XX"}
    whole = form(sounds[0])
    url = f"{server.url}/v1/audio/transcriptions"
    for content, headers, said in (
        (whole[:-12], kinds, "breaks off"),
        (b"--XX\r\nnonsense\r\n", kinds, "cannot be read"),
        (b"", kinds, "breaks off"),
        (b"{}", {"Content-Type": "application/json"}, "expected a form"),
        (b"a=1", {"Content-Type": "multipart/form-data"}, "expected a form"),
        (whole.replace(b'name="file"', b'name="fill"'), kinds, "did you mean file"),
        (
            b"--XX\r\nContent-Disposition: form-data; name=model\r\n\r\ntiny\r\n--XX--\r\n",
            kinds,
            "file: is missing",
        ),
        (whole.replace(b"tiny", b"x" * 70_000), kinds, "larger than 64 kB"),
    ):
        answer = httpx.post(url, content=content, headers=headers, trust_env=False)
        assert said in answer.json()["error"]["message"], answer.text
        assert 400 <= answer.status_code < 500
    assert httpx.get(f"{server.url}/v1/nothing", trust_env=False).json()["error"]["type"]
    assert server.health()["requests_in_hand"] == 0


def test_what_is_too_large_or_too_long_is_refused(transcriber: Transcriber, sounds: list[Path]) -> None:
    with running(transcriber, upload_mb=0.01, recording_seconds=1.5) as server:
        with pytest.raises(openai.APIStatusError, match=r"larger than 0\.01 MB") as refused:
            ask(server, sounds[2])
        assert refused.value.status_code == 413
        body = form(sounds[2])
        parts = (body[i : i + 4096] for i in range(0, len(body), 4096))
        headers = {"Content-Type": "multipart/form-data; boundary=XX"}
        unannounced = httpx.post(
            f"{server.url}/v1/audio/transcriptions", content=parts, headers=headers, trust_env=False
        )
        assert unannounced.status_code == 413
    with (
        running(transcriber, recording_seconds=1.5) as server,
        pytest.raises(openai.BadRequestError, match=r"talk2\.wav: found .* s, expected at most 1\.5 s"),
    ):
        ask(server, sounds[2])


def test_keys(transcriber: Transcriber, sounds: list[Path], tmp_path: Path) -> None:
    with running(transcriber, keys=("first", "second")) as server:
        for wrong in ("firs", "first2", "None"):
            with pytest.raises(openai.AuthenticationError, match="the API key is wrong") as refused:
                server.client(api_key=wrong).models.list()
            assert refused.value.code == "invalid_api_key"
        large = tmp_path / "large.wav"
        large.write_bytes(bytes(8_000_000))
        with pytest.raises(openai.AuthenticationError):
            server.client(api_key="wrong").audio.transcriptions.create(file=large, model=MODEL)
        for good in ("first", "second"):
            assert server.client(api_key=good).audio.transcriptions.create(file=sounds[0], model=MODEL).text
        assert server.health()["status"] == "ok"
        assert server.metric('requests_total{status="200"}', key="first") == 2
        for path in ("/metrics", "/v1/models"):
            answer = httpx.get(f"{server.url}{path}", trust_env=False)
            assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")


def test_a_fault_of_one_recording_is_not_the_others(transcriber: Transcriber, sounds: list[Path]) -> None:
    class Faulty(Gated):
        """Fails for the longest recording, and for every batch that holds it."""

        def decode(self, jobs: Any) -> Any:
            assert self.gate.wait(PATIENCE_SECONDS)
            if any(job.waveform is not None and len(job.waveform) == longest for job in jobs):
                raise RuntimeError("boom")
            return self._transcriber.decode(jobs)

    lengths = {path: path.stat().st_size for path in sounds}
    worst = max(lengths, key=lengths.get)
    longest = len(transcriber.prepare(worst).recording.waveform)
    faulty = Faulty(transcriber)
    asked = [worst, *(path for path in sounds[:4] if path != worst)]
    found: dict[Path, Any] = {}

    def one(path: Path) -> None:
        try:
            found[path] = ask(server, path).text
        except openai.APIStatusError as error:
            found[path] = error

    with running(faulty) as server:
        threads = [threading.Thread(target=one, args=[path]) for path in asked]
        for thread in threads:
            thread.start()
        until(lambda: server.metric("pieces_waiting") > 3)
        faulty.gate.set()
        for thread in threads:
            thread.join()
        assert isinstance(found[worst], openai.InternalServerError)
        assert "boom" not in str(found[worst])
        assert [found[path] for path in asked[1:]] == [
            transcriber.transcribe(path).text for path in asked[1:]
        ]
        streamed = form(worst, stream="true")
        headers = {"Content-Type": "multipart/form-data; boundary=XX"}
        answer = httpx.post(
            f"{server.url}/v1/audio/transcriptions", content=streamed, headers=headers, trust_env=False
        )
        last = answer.text.strip().splitlines()[-1]
        assert json.loads(last.removeprefix("data: "))["error"]["type"] == "server_error"
