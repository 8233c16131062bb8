"""Transcripts as text, JSON and subtitles."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from llama_avsr.transcription.outputs import (
    as_json,
    as_srt,
    as_txt,
    as_vtt,
    cues,
    for_screen,
    remarks,
    save,
    stage_table,
)
from llama_avsr.transcription.transcript import Hypothesis, Segment, Transcript

LONG = "one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen end"


def segment(start: float, end: float, *texts: str) -> Segment:
    return Segment(start, end, [Hypothesis(t, -0.5 * i) for i, t in enumerate(texts)], ("audio",))


def transcript(*segments: Segment, **more: object) -> Transcript:
    seconds = {"read": 1.0, "faces": 0.0, "crop": 0.0, "encode": 0.5, "decode": 0.5}
    return Transcript(
        path=Path("talks/one.mp4"),
        segments=segments,
        duration_s=10.0,
        media=("audio",),
        seconds=seconds,
        **more,
    )


TWO = transcript(segment(0.5, 2.04, "set <white> & red", "set why"), segment(61.5, 62, "é now"))


def test_text() -> None:
    assert as_txt(TWO) == "set <white> & red\né now\n"
    assert TWO.text == "set <white> & red é now"
    assert transcript(segment(0, 1, ""), segment(1, 2, "a")).text == "a"


def test_subtitles() -> None:
    assert as_srt(TWO) == (
        "1\n00:00:00,500 --> 00:00:02,040\nset <white> & red\n\n2\n00:01:01,500 --> 00:01:02,000\né now\n"
    )
    assert as_vtt(TWO) == (
        "WEBVTT\n\n00:00:00.500 --> 00:00:02.040\nset &lt;white&gt; &amp; red\n\n"
        "00:01:01.500 --> 00:01:02.000\né now\n"
    )
    assert as_srt(transcript()) == ""
    assert as_vtt(transcript()) == "WEBVTT\n"


def test_long_segments_get_several_subtitles_in_proportion() -> None:
    found = cues([segment(10, 20, LONG)])
    assert len(found) == 2
    assert [cue.start_s for cue in found] == [10, found[0].end_s]
    assert found[-1].end_s == 20
    assert all(len(cue.lines) <= 2 and max(map(len, cue.lines)) <= 42 for cue in found)
    assert " ".join(line for cue in found for line in cue.lines) == LONG
    assert 16 < found[0].end_s < 19
    assert cues([segment(0, 1, "")]) == []


def test_json_holds_everything() -> None:
    found = json.loads(as_json(TWO))
    assert found["text"] == TWO.text
    assert found["file"] == "talks/one.mp4"
    assert found["segments"][0]["start"] == 0.5
    assert found["segments"][0]["hypotheses"] == [
        {"text": "set <white> & red", "score": 0.0},
        {"text": "set why", "score": -0.5},
    ]
    assert found["segments"][1]["media"] == ["audio"]
    assert found["seconds"]["read"] == 1.0


def test_files(tmp_path: Path) -> None:
    paths = save(TWO, tmp_path / "new", ("txt", "srt"))
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == ["one.srt", "one.txt"]
    assert paths[0].read_text() == as_txt(TWO)
    with pytest.raises(ValueError, match=r"format 'doc', expected some of txt, json, srt, vtt"):
        save(TWO, tmp_path, ("doc",))


def test_screen() -> None:
    assert for_screen(TWO) == "[00:00.500 - 00:02.040] set <white> & red\n[01:01.500 - 01:02.000] é now"
    assert for_screen(transcript(segment(0, 1, "alone"))) == "alone"
    assert remarks(TWO) == ["used: sound"]
    assert remarks(transcript(reason="sound alone: no face", notes=("a",))) == [
        "used: sound alone: no face",
        "a",
    ]


def test_stage_table() -> None:
    lines = stage_table([TWO, TWO]).splitlines()
    assert lines[0].split() == [
        "length",
        "read",
        "faces",
        "crop",
        "encode",
        "decode",
        "all",
        "x",
        "real",
        "time",
    ]
    assert lines[1].split() == ["one.mp4", "10.0", "s", "1.00", "0.00", "0.00", "0.50", "0.50", "2.00", "5.0"]
    assert lines[3].split()[:4] == ["all", "20.0", "s", "2.00"]
    assert stage_table([]) == ""


def test_an_arrow_in_a_text_ends_no_cue() -> None:
    arrow = transcript(segment(0.0, 1.0, "a --> b"))
    for write in (as_srt, as_vtt):
        assert write(arrow).count("-->") == 1
    assert "a --&gt; b" in as_vtt(arrow)
