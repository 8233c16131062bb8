"""cpWER: against all pairings tried by hand, and from the files that name speakers."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llama_avsr.commands import score
from llama_avsr.evaluation.meetings.cpwer import paired, scored, screen
from llama_avsr.evaluation.meetings.files import Meetings, read
from llama_avsr.transcription.outputs import as_json
from llama_avsr.transcription.transcript import Hypothesis, Segment, Transcript

WORDS = st.lists(st.sampled_from(["a", "b", "c", "d"]), max_size=6).map(" ".join)
SPEAKERS = st.lists(WORDS, max_size=4).map(lambda texts: {str(i): text for i, text in enumerate(texts)})


def distance(one: str, other: str) -> int:
    """Levenshtein's, of words, written out."""
    a, b = one.split(), other.split()
    row = list(range(len(b) + 1))
    for i, left in enumerate(a, 1):
        before, row = row, [i]
        for j, right in enumerate(b, 1):
            row.append(min(before[j] + 1, row[-1] + 1, before[j - 1] + (left != right)))
    return row[-1]


def fewest(references: list[str], hypotheses: list[str]) -> int:
    """Errors of the best of all pairings."""
    size = max(len(references), len(hypotheses))
    said, written = (texts + [""] * (size - len(texts)) for texts in (references, hypotheses))
    return min(
        sum(distance(one, other) for one, other in zip(said, order, strict=True))
        for order in itertools.permutations(written)
    )


@settings(max_examples=150, deadline=None)
@given(SPEAKERS, SPEAKERS)
def test_no_pairing_is_better(references: dict[str, str], hypotheses: dict[str, str]) -> None:
    found = paired(references, hypotheses)
    assert sum(one.edits.errors for one in found) == fewest([*references.values()], [*hypotheses.values()])
    assert sorted(one.reference for one in found if one.reference is not None) == sorted(references)
    assert sorted(one.hypothesis for one in found if one.hypothesis is not None) == sorted(hypotheses)
    assert sum(one.edits.length for one in found) == sum(len(text.split()) for text in references.values())


def test_names_do_not_matter_but_whose_words_they_are_does() -> None:
    references = Meetings("ref", {"m": {"Ann": "one two three four", "Bo": "five six"}})
    renamed = scored(Meetings("hyp", {"m": {"x": "five six", "y": "one two three four"}}), references)
    assert renamed.edits.errors == 0
    swapped = scored(Meetings("hyp", {"m": {"x": "five six four", "y": "one two three"}}), references)
    assert (swapped.edits.deletions, swapped.edits.insertions, swapped.edits.length) == (1, 1, 6)
    one_speaker = scored(Meetings("hyp", {"m": {"x": "one two three four five six"}}), references)
    assert one_speaker.edits.errors == 4
    assert "Bo as (nobody): 2 errors in 2 words" in screen(one_speaker)
    third = scored(
        Meetings("hyp", {"m": {"x": "five six", "y": "one two three four", "z": "uh"}}), references
    )
    assert (third.edits.insertions, third.edits.rate_percent) == (1, pytest.approx(100 / 6))
    assert "(nobody) as z: 1 errors in 0 words" in screen(third)


def transcript(name: str, *said: tuple[float, str | None, str]) -> Transcript:
    segments = [
        Segment(start, start + 1, [Hypothesis(text, -0.1)], ("audio",), speaker=speaker)
        for start, speaker, text in said
    ]
    return Transcript(path=Path(f"videos/{name}.mp4"), segments=segments, duration_s=9.0, media=("audio",))


def test_formats_say_the_same(tmp_path: Path) -> None:
    stm = tmp_path / "ref.stm"
    stm.write_text(
        ";; who said what\n"
        "one 1 Ann 2.0 3.0 <o,f0,female> how are you\n"
        "one 1 Bo 0.5 1.0 hello\n"
        "one 1 Ann 0.0 0.4 hi\n"
        "two 1 Bo 0.0 1.0 bye\n"
    )
    wanted = {"one": {"Ann": "hi how are you", "Bo": "hello"}, "two": {"Bo": "bye"}}
    assert read(stm).said == wanted
    rows = [
        {"session_id": "one", "speaker": "Ann", "words": "how are you", "start_time": "2.0", "end_time": 3},
        {"session_id": "one", "speaker": "Bo", "words": "hello", "start_time": 0.5, "end_time": 1},
        {"session_id": "one", "speaker": "Ann", "words": "hi", "start_time": 0, "end_time": 0.4},
        {"session_id": "two", "speaker": "Bo", "words": "bye", "start_time": 0, "end_time": 1},
    ]
    seglst = tmp_path / "ref.json"
    seglst.write_text(json.dumps(rows))
    assert read(seglst).said == wanted
    own = tmp_path / "own"
    own.mkdir()
    for made in (
        transcript(
            "one", (0.0, "speaker 1", "hi"), (0.5, "speaker 2", "hello"), (2.0, "speaker 1", "how are")
        ),
        transcript("two", (0.0, None, "bye")),
    ):
        (own / f"{made.path.stem}.json").write_text(as_json(made))
    assert read(own).said == {
        "one": {"speaker 1": "hi how are", "speaker 2": "hello"},
        "two": {"nobody": "bye"},
    }
    silent = tmp_path / "silent.json"
    silent.write_text(as_json(transcript("three")))
    assert read(silent).said == {"three": {}}


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = [f"m{i}" for i in range(6)]
    stm = tmp_path / "ref.stm"
    stm.write_text("".join(f"{n} 1 Ann 0 1 Hello there\n{n} 1 Bo 1 2 Yes\n" for n in names))
    own = tmp_path / "texts"
    own.mkdir()
    for name in names:
        made = transcript(
            name, (0.0, "speaker 2", "hello there" if name != "m0" else "hello"), (1.0, "speaker 1", "yes")
        )
        (own / f"{name}.json").write_text(as_json(made))
    flags = [
        own,
        "--metric",
        "cpwer",
        "--references",
        stm,
        "--normalise",
        "lower",
        "--output-dir",
        tmp_path / "out",
    ]
    score.main(list(map(str, flags)))
    shown = capsys.readouterr().out
    assert "cpWER   5.56 %   (95 % interval 0.00 to" in shown
    assert "errors  1 in 18 words: 0 substituted, 1 deleted, 0 inserted" in shown
    assert "speakers 12 in the references, 12 in the hypotheses" in shown
    found = json.loads((tmp_path / "out" / "score.json").read_text())
    assert (found["metric"], found["deletions"], found["normalisation"]) == ("cpwer", 1, "lower")
    assert found["meetings"][0]["speakers"][0]["hypothesis"] == "speaker 2"


def test_what_cannot_be_scored(tmp_path: Path) -> None:
    references = Meetings("ref.stm", {"m": {"Ann": "one"}, "n": {"Bo": "two"}})
    for said, omits_silent, wanted in (
        ({"m": {}, "n": {}, "o": {}}, True, "the meeting o of hyp is not in ref.stm"),
        ({"m": {}}, False, "the meeting n of ref.stm is not in hyp"),
    ):
        with pytest.raises(ValueError, match=wanted):
            scored(Meetings("hyp", said, omits_silent), references)
    assert scored(Meetings("hyp", {"m": {}}, True), references).notes == [
        "1 meeting(s) without a word in hyp"
    ]
    with pytest.raises(ValueError, match="found no words"):
        scored(Meetings("hyp", {"m": {}}), Meetings("ref", {"m": {"Ann": ""}}))
    for name, content, wanted in (
        ("a.stm", "one 1 Ann\n", r"a\.stm:1: expected meeting, channel"),
        ("a.stm", "one 1 A 0 1 IGNORE_TIME_SEGMENT_IN_SCORING\n", "cut that part out"),
        ("a.json", "{", "found no JSON"),
        ("a.json", "{}", "expected a transcript"),
        ("a.json", "[3]", "segment 1: expected text under session_id"),
        (
            "a.json",
            '[{"session_id": "m", "speaker": "A", "start_time": "x", "words": ""}]',
            "expected seconds",
        ),
        ("a.json", '{"segments": [{"start": 0}]}', "expected text under text"),
        ("a.txt", "hello", "expected a file that names speakers"),
    ):
        (tmp_path / name).write_text(content)
        with pytest.raises(ValueError, match=wanted):
            read(tmp_path / name)
    with pytest.raises(ValueError, match="no such file"):
        read(tmp_path / "none.stm")
    with pytest.raises(ValueError, match="--metric cpwer needs --references"):
        score.main([str(tmp_path / "a.json"), "--metric", "cpwer"])
