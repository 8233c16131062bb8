"""What the server does with a recording that a browser sends in pieces."""

from __future__ import annotations

import secrets
import threading
from pathlib import Path

import numpy as np
import pytest

from llama_avsr.live import writing
from llama_avsr.page.live import MAX_PIECE_BYTES, MAX_VISITS, Visits
from llama_avsr.transcription.pipeline import Transcriber
from tests.unit import media_files
from tests.unit.test_live import live_webm, noise_is_speech, transcriber  # noqa: F401  (fixtures)


def test_a_visitor_gets_words_and_they_only_grow(
    transcriber: Transcriber,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(writing, "is_loop", lambda text, finished: False)  # a random model writes little else
    rng = np.random.default_rng(0)
    loud = np.repeat([0.0, 0.2, 0.0, 0.2, 0.0], 48_000 // 2 * np.array([1, 2, 2, 2, 2]))
    noise = (loud * rng.standard_normal(len(loud))).clip(-1, 1).astype(np.float32)
    content = live_webm(tmp_path / "talk.webm", media_files.moving_bar(len(noise) // 1920), noise)
    visits, name = Visits(transcriber), secrets.token_hex(16)
    answers = [
        visits.take(name, content[start : start + 4096], "webm", cropped=True, last=False)
        for start in range(0, len(content), 4096)
    ]
    answers.append(visits.take(name, b"", "webm", cropped=True, last=True))
    assert answers[-1]["ended"]
    assert {answer["error"] for answer in answers} == {""}
    assert answers[-1]["partial"] == ""
    texts = [" ".join(answer["fixed"]) for answer in answers]
    assert texts[-1]
    assert all(texts[-1].startswith(text) for text in texts)


def test_what_is_no_recording_is_refused_and_told(transcriber: Transcriber) -> None:  # noqa: F811
    visits, name = Visits(transcriber), secrets.token_hex(16)
    answer = visits.take(name, b"no recording" * 1000, "webm", cropped=True, last=True)
    assert "cannot be read" in answer["error"]
    with pytest.raises(ValueError, match="no piece"):
        visits.take("../etc", b"", "webm", cropped=True, last=False)
    with pytest.raises(ValueError, match="no piece"):
        visits.take(name, bytes(MAX_PIECE_BYTES + 1), "webm", cropped=True, last=False)
    with pytest.raises(ValueError, match="expected webm or mp4"):
        visits.take(secrets.token_hex(16), b"", "gif", cropped=True, last=False)


def test_few_record_at_one_time(transcriber: Transcriber) -> None:  # noqa: F811
    visits, names = Visits(transcriber), [secrets.token_hex(16) for _ in range(MAX_VISITS + 1)]
    for name in names[:-1]:
        visits.take(name, b"", "webm", cropped=True, last=False)
    with pytest.raises(ValueError, match="try again later"):
        visits.take(names[-1], b"", "webm", cropped=True, last=False)
    for name in names[:-1]:
        visits.take(name, b"", "webm", cropped=True, last=True)
    assert visits.take(names[-1], b"", "webm", cropped=True, last=True)["ended"]


def test_a_page_that_ends_ends_its_recordings(transcriber: Transcriber, tmp_path: Path) -> None:  # noqa: F811
    noise = np.random.default_rng(0).normal(0, 0.2, 48_000).astype(np.float32)
    content = live_webm(tmp_path / "talk.webm", media_files.moving_bar(25), noise)
    visits, name = Visits(transcriber), secrets.token_hex(16)
    before = set(threading.enumerate())
    visits.take(name, content[: len(content) // 2], "webm", cropped=True, last=False)
    visits.take(secrets.token_hex(16), b"", "webm", cropped=True, last=False)
    assert len(set(threading.enumerate()) - before) >= 2
    visits.close()
    assert set(threading.enumerate()) <= before
    with pytest.raises(ValueError, match="the page is closed"):
        visits.take(name, b"", "webm", cropped=True, last=False)
