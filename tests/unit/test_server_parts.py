"""Parts of the server that need neither sockets nor a model."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from llama_avsr import cli, server
from llama_avsr.options.checks import unused
from llama_avsr.server import answers, keys
from llama_avsr.server.desk import Desk, Failed, Ready, Ticket, Written
from llama_avsr.server.errors import ApiError, in_words
from llama_avsr.server.form import Ask, ask_of
from llama_avsr.server.limits import Limits
from llama_avsr.server.run import bound
from llama_avsr.server.uploads import Upload, _plain
from llama_avsr.server.work import Work
from llama_avsr.transcription.batches import Job, Piece
from llama_avsr.transcription.loops import Loops
from llama_avsr.transcription.modality import NO_PICTURE, UnusableError, choose
from llama_avsr.transcription.transcript import Hypothesis, Segment, Transcript, Word
from tests.unit import media_files

PATIENCE_SECONDS = 120


class FakeTranscriber:
    """Recordings are files of one number: of how many pieces they are. The model takes one at a time."""

    trained = SimpleNamespace(max_batch_frames=1)
    settings = SimpleNamespace(already_cropped=False)

    def __init__(self) -> None:
        self.gate, self.began = threading.Event(), threading.Event()
        self.seen: list[str] = []

    def prepare(self, path: Path, **_: Any) -> Any:
        jobs = [
            Job(Piece(index, index + 1, ("audio",)), None, None, ("en", path.stem), Loops())
            for index in range(int(path.read_text()))
        ]
        return SimpleNamespace(jobs=jobs, recording=SimpleNamespace(num_frames=25))

    def decode(self, jobs: list[Job]) -> list[Segment]:
        (job,) = jobs
        self.seen.append(f"{job.languages[1]}{job.piece.start}")
        self.began.set()
        assert self.gate.wait(PATIENCE_SECONDS)
        return [Segment(0.0, 1.0, [Hypothesis(self.seen[-1], 0.0)], ("audio",))]


class Heard:
    """What a ticket was told."""

    def __init__(self, path: Path, pieces: int) -> None:
        path.write_text(str(pieces))
        self.events: list[Any] = []
        self._read, self._all = threading.Event(), threading.Event()
        self._pieces = pieces
        self.ticket = Ticket(path, None, None, self._tell)

    def _tell(self, event: Any) -> None:
        self.events.append(event)
        self._read.set()
        if isinstance(event, Failed) or len(self.events) == self._pieces + 1:
            self._all.set()

    def read(self) -> None:
        assert self._read.wait(PATIENCE_SECONDS)

    def all(self) -> list[Any]:
        assert self._all.wait(PATIENCE_SECONDS)
        return self.events


def test_a_short_recording_does_not_wait_for_a_long_one(tmp_path: Path) -> None:
    model = FakeTranscriber()
    with Desk(model, readers=1) as desk:
        long, short = Heard(tmp_path / "a", 6), Heard(tmp_path / "b", 2)
        desk.submit(long.ticket)
        desk.submit(short.ticket)
        long.read()
        short.read()
        model.gate.set()
        events = long.all()
        assert len(short.all()) == 3
    assert isinstance(events[0], Ready)
    assert sorted(event.job.piece.start for event in events[1:]) == list(range(6))
    assert all(isinstance(event, Written) for event in events[1:])
    assert model.seen.index("b1") < model.seen.index("a4")
    assert [name for name in model.seen if name[0] == "a"] == [f"a{i}" for i in range(6)]


def test_what_was_given_up_is_not_decoded(tmp_path: Path) -> None:
    model = FakeTranscriber()
    with Desk(model, readers=1) as desk:
        first, second = Heard(tmp_path / "a", 4), Heard(tmp_path / "b", 1)
        desk.submit(first.ticket)
        first.read()
        desk.submit(second.ticket)
        second.read()
        desk.give_up(first.ticket)
        model.gate.set()
        second.all()
    # The model may have begun with the first piece before.
    assert [name for name in model.seen if name[0] == "a"] in ([], ["a0"])


def test_closing_drops_what_waits(tmp_path: Path) -> None:
    model = FakeTranscriber()
    with Desk(model, readers=1) as desk:
        one = Heard(tmp_path / "a", 50)
        desk.submit(one.ticket)
        assert model.began.wait(PATIENCE_SECONDS)
        late = threading.Thread(
            target=lambda: one.ticket.given_up.wait(PATIENCE_SECONDS) and model.gate.set()
        )
        late.start()
    late.join()
    assert model.seen == ["a0"]
    assert desk.num_waiting == 0
    assert one.ticket.given_up.is_set()


def test_what_takes_too_long_is_told_so(tmp_path: Path) -> None:
    model = FakeTranscriber()
    (tmp_path / "a").write_text("1")

    async def wait(desk: Desk) -> None:
        async with Work(desk, Upload(tmp_path, path=tmp_path / "a"), Ask(), seconds=0.0) as work:
            await work.begin()
            async for _ in work.segments():
                pass

    with Desk(model, readers=1) as desk:
        with pytest.raises(ApiError, match="no answer within 0 s") as refused:
            asyncio.run(wait(desk))
        model.gate.set()
    assert (refused.value.status, refused.value.code) == (503, "timeout")


def transcript(words: list[Word] | None, text: str = "hello there", **more: Any) -> Transcript:
    segment = Segment(0.5, 1.5, [Hypothesis(text, -0.25)], ("audio",), words, **more)
    return Transcript(path=Path("a.wav"), segments=[segment], duration_s=2.0, media=("audio",))


def test_words_with_times() -> None:
    wanted = Ask(response_format="verbose_json", granularities=frozenset({"word"}))
    words = [Word("hello", 0.5, 0.9), Word("there", 1.0, 1.5, 0.75)]
    found = answers.verbose(transcript(words), wanted)
    assert found["words"] == [
        {"word": "hello", "start": 0.5, "end": 0.9},
        {"word": "there", "start": 1.0, "end": 1.5, "confidence": 0.75},
    ]
    assert "segments" not in found
    # Nothing aligns in a segment: no times are invented, and a note says so.
    lacking = replace(transcript(None), notes=["1 of 1 segments without word times"])
    found = answers.verbose(lacking, wanted)
    assert (found["words"], found["notes"]) == ([], lacking.notes)


def test_words_are_refused_where_there_can_be_none() -> None:
    def asked(words: object, languages: tuple[str, str]) -> Ask:
        model = SimpleNamespace(
            settings=SimpleNamespace(languages=languages), trained=SimpleNamespace(words=words)
        )
        fields = {
            "model": ["m"],
            "response_format": ["verbose_json"],
            "timestamp_granularities": ["word", "segment"],
        }
        return ask_of(fields, model, "m")

    assert asked(object(), ("en", "en")).granularities == {"word", "segment"}
    with pytest.raises(ApiError, match="this model has no times for words"):
        asked(None, ("en", "en"))
    with pytest.raises(ApiError, match="a translation has no times for words"):
        asked(object(), ("en", "es"))


class Repeating(FakeTranscriber):
    """Says nothing else than loops in pieces of more than 60 frames."""

    trained = SimpleNamespace(max_batch_frames=1)

    def prepare(self, path: Path, **_: Any) -> Any:
        loops = Loops()
        jobs = [
            Job(Piece(start, stop, ("audio",)), None, None, ("en", "x"), loops)
            for start, stop in ((0, 100), (200, 220), (300, 340))
        ]
        return SimpleNamespace(jobs=jobs, recording=SimpleNamespace(num_frames=25))

    def decode(self, jobs: list[Job]) -> list[Segment | None]:
        found = super().decode(jobs)
        loops = jobs[0].num_frames > 60 or jobs[0].piece.start == 300
        return [None] if loops else found

    def finish(self, prepared: Any, segments: list[Segment]) -> list[str]:
        return sorted(segment.text for segment in segments)


def test_parts_of_a_loop_take_its_place(tmp_path: Path) -> None:
    model = Repeating()
    model.gate.set()
    (tmp_path / "a").touch()

    async def write(desk: Desk) -> tuple[list[str], list[str]]:
        async with Work(desk, Upload(tmp_path, path=tmp_path / "a"), Ask(), PATIENCE_SECONDS) as work:
            await work.begin()
            texts = [segment.text async for segment in work.segments()]
            return texts, await work.transcript()

    with Desk(model, readers=1) as desk:
        texts, whole = asyncio.run(write(desk))
    # The third is too short to be cut: nothing is written of it.
    assert texts[0] == "x0"
    assert texts[-1] == "x200"
    assert len(texts) > 2
    assert whole == sorted(texts)


def test_segments_say_who_speaks() -> None:
    both = Ask(response_format="verbose_json", granularities=frozenset({"word", "segment"}))
    (found,) = answers.verbose(transcript([], speaker="speaker 2"), both)["segments"]
    assert found["speaker"] == "speaker 2"
    assert found["compression_ratio"] == pytest.approx(11 / 19)
    assert found["no_speech_prob"] is None
    (plain,) = answers.verbose(transcript(None), Ask())["segments"]
    assert "speaker" not in plain


def test_keys_come_from_a_file_and_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "keys.txt"
    file.write_text("one\n\n  two  \n")
    monkeypatch.delenv(keys.VARIABLE, raising=False)
    assert keys.keys_of(None) == []
    assert keys.keys_of(file) == ["one", "two"]
    monkeypatch.setenv(keys.VARIABLE, "three")
    assert keys.keys_of(file) == ["three", "one", "two"]
    keys.check(["one", "two"], "Bearer two")
    keys.check([], None)
    for given in (None, "", "Bearer", "Bearer ", "Basic two", "Bearer three", "two"):
        with pytest.raises(ApiError) as refused:
            keys.check(["one", "two"], given)
        assert refused.value.status == 401
    for content in (b"", b"\n \n", b"\xff\xfe", b"key\n" * 2**15):
        file.write_bytes(content)
        with pytest.raises(ValueError, match=r"keys\.txt: expected a small text file with one key"):
            keys.keys_of(file)


def test_every_refusal_reads_without_flags() -> None:
    path, seen = Path("/srv/uploads/recording.mp4"), set()
    for model in (("audio",), ("video",), ("audio", "video")):
        for asked in (None, {"audio"}, {"video"}, {"audio", "video"}):
            for lacking in ({"audio": "no sound"}, {"video": NO_PICTURE}, {"video": "no face was found"}):
                for may_drop in (True, False):
                    try:
                        choose(model, may_drop, lacking, asked)
                    except UnusableError as error:
                        seen.add(in_words(f"{path}: {error}", path, "talk.mp4"))
    assert len(seen) > 8
    assert not [said for said in seen if "--" in said or "/srv" in said or not said.startswith("talk.mp4: ")]


def test_names_of_files_are_names() -> None:
    assert _plain("../../etc/passwd") == "passwd"
    assert _plain("C:\\talks\\one.mp4") == "one.mp4"
    assert _plain("a\nb\x00.wav") == "ab.wav"
    assert _plain("") == _plain("/") == "file"
    assert len(_plain("x" * 1000 + ".wav")) == 80


def test_the_length_is_that_of_the_packets(tmp_path: Path) -> None:
    from datamodules.media.headers import packet_seconds

    wav = media_files.write_wav(tmp_path / "a.wav", np.zeros(40_000))
    assert packet_seconds(wav) == pytest.approx(2.5, abs=0.05)
    video = media_files.write_video(tmp_path / "a.mp4", media_files.moving_bar(50))
    assert packet_seconds(video) == pytest.approx(2.0, abs=0.05)
    (tmp_path / "b.mp4").write_text("no video")
    assert packet_seconds(tmp_path / "b.mp4") == 0.0


def test_flags() -> None:
    served = cli.parse(
        ["--serve-api", "--pretrained-model-path", "m", "--port", "8000", "--max-requests", "3"], "transcribe"
    )
    assert (served.options.api.serve_api, served.options.serving.host) == (True, "127.0.0.1")
    assert unused(served.options, served.explicit, "transcribe") == []
    assert Limits().requests == served.options.updated({"max_requests": 64}).api.max_requests
    with pytest.raises(ValueError, match=r"--serve-api takes videos in requests, found a\.mp4"):
        cli.parse(["a.mp4", "--serve-api", "--pretrained-model-path", "m"], "transcribe")
    with pytest.raises(ValueError, match="--serve is a page, --serve-api a server"):
        cli.parse(["--serve", "--serve-api", "--pretrained-model-path", "m"], "transcribe")
    unserved = cli.parse(["a.mp4", "--pretrained-model-path", "m", "--max-requests", "3"], "transcribe")
    assert unused(unserved.options, unserved.explicit, "transcribe") == [
        "no effect in transcription: --max-requests"
    ]


def test_a_port_that_is_taken_is_said() -> None:
    with bound("127.0.0.1", 0) as taken, pytest.raises(ValueError, match="give another port"):
        bound("127.0.0.1", taken.getsockname()[1])


def test_without_the_extra_one_hears_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"needs fastapi, .*llama-avsr\[server\]"):
        server.check_installed()
