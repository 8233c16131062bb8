"""What is read from .txt, .srt, .vtt and the transcripts of a model."""

import json

import pytest

from preparation.datasets import asr_transcripts, subtitles, text
from preparation.datasets.segments import Cues, WholeText, Word, Words
from preparation.datasets.transcripts import BesideReader, TranscriptError, read_lrs_text, read_lrs_words
from tests.unit.preparation_sets import lrs_text


def write(path, content, encoding="utf-8"):
    path.write_bytes(content.encode(encoding))
    return path


@pytest.mark.parametrize(
    ("raw", "clean"),
    [
        ("IT'S {LG} FINE", "IT'S FINE"),
        ("{NS}", ""),
        ("{ ns }THE  {WORD}", "THE WORD"),
        ("A {COUGHDROP} {CG}", "A COUGHDROP"),
    ],
)
def test_lrs_texts_lose_noise_codes_and_braces_alone(raw, clean):
    assert text.lrs(raw) == clean


@pytest.mark.parametrize(
    ("raw", "clean"),
    [
        ("Hello, World!", "HELLO WORLD"),
        ("it\u2019s a well-known 'fact'", "IT'S A WELL KNOWN FACT"),
        ("dogs' and 'em", "DOGS' AND 'EM"),
        ("1,000 people, 3.5 %", "1000 PEOPLE 3.5"),
        ("the end. 2. No", "THE END 2 NO"),
        ("¿Qué? Así—sí…", "QUÉ ASÍ SÍ"),
        ("ﬁne\u00a0print\ufeff", "FINE PRINT"),
        ("(really)", "REALLY"),
        ("' '' '", ""),
    ],
)
def test_spoken_texts_are_words_alone(raw, clean):
    assert text.spoken(raw) == clean


def test_subtitles_lose_annotations():
    assert text.subtitle("[door slams] Well (sighs) ♪ la la ♪") == "WELL LA LA"
    assert text.verbatim(" Well,\n [door]  ok ") == "Well, [door] ok"


@pytest.mark.parametrize(
    "content", ["Text:  SO IT IS\nConf:  4\n", "Text: SO IT IS\r\nConf: 4", "Text:\tSO  IT IS"]
)
def test_lrs_text(tmp_path, content):
    if "\t" in content:
        content = content.replace("\t", " ")
    assert read_lrs_text(write(tmp_path / "a.txt", content)) == WholeText("SO IT IS")


def test_lrs_alignment(tmp_path):
    words = [("SO", 0.1, 0.3), ("{LG}", 0.3, 0.5), ("IT", 0.5, 0.9)]
    path = write(tmp_path / "a.txt", "\ufeff" + lrs_text("SO {LG} IT", words).replace("\n", "\r\n"))
    assert read_lrs_words(path) == Words((Word("SO", 0.1, 0.3), Word("", 0.3, 0.5), Word("IT", 0.5, 0.9)))
    assert read_lrs_text(path) == WholeText("SO IT")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("hello\n", "expected an alignment after the line WORD START END"),
        ("WORD START END ASDSCORE\n", "expected words after line 1"),
        (
            "WORD START END ASDSCORE\nSO x 0.3 1\n",
            "a.txt:2: expected WORD START END in seconds, found 'SO x 0.3 1'",
        ),
        ("WORD START END ASDSCORE\nSO 0.5 0.3 1\n", "a.txt:2: expected WORD START END"),
        ("WORD START END ASDSCORE\nSO nan 0.3 1\n", "a.txt:2: expected WORD START END"),
        ("WORD START END ASDSCORE\nSO\n", "a.txt:2: expected WORD START END"),
    ],
)
def test_broken_alignments(tmp_path, content, reason):
    with pytest.raises(TranscriptError, match=r"a\.txt") as caught:
        read_lrs_words(write(tmp_path / "a.txt", content))
    assert reason in str(caught.value)


def test_broken_texts(tmp_path):
    with pytest.raises(TranscriptError, match="begins with Text:, found 'hello'"):
        read_lrs_text(write(tmp_path / "a.txt", "hello\n"))
    with pytest.raises(TranscriptError, match="expected words after Text:"):
        read_lrs_text(write(tmp_path / "a.txt", "Text: \n"))
    with pytest.raises(TranscriptError, match="cannot be read"):
        read_lrs_text(tmp_path / "nowhere.txt")
    with pytest.raises(TranscriptError, match="save it as UTF-8"):
        read_lrs_text(write(tmp_path / "a.txt", "Text: CAFÉ\n", "latin-1"))


SRT = """1
00:00:01,000 --> 00:00:02,500
<i>Hello</i> there,
{\\an8}- you &amp; me.

2
00:00:02,500 --> 00:00:03,000 X1:40 Y1:50
>> [music]

3
00:01:00.5 --> 01:00:00,000
Late
"""


def test_srt():
    cues = subtitles.parse(SRT)
    assert cues == [
        Word("Hello there, you & me.", 1.0, 2.5),
        Word("[music]", 2.5, 3.0),
        Word("Late", 60.5, 3600.0),
    ]
    assert subtitles.parse("\ufeff" + SRT.replace("\n", "\r\n")) == cues
    # Without blank lines between them.
    squeezed = "1\n00:00:01,000 --> 00:00:02,000\none\n2\n00:00:02,000 --> 00:00:03,000\ntwo"
    assert [cue.text for cue in subtitles.parse(squeezed)] == ["one", "two"]


def test_vtt():
    content = """WEBVTT - a title

NOTE a note
of two lines

STYLE
::cue { color: red }

first
00:01.000 --> 00:02.000 align:start position:0%
<v Ann>Hi<00:00:01.500><c> all</c></v>

00:02.000 --> 00:03.000
I <3 you
"""
    assert subtitles.parse(content) == [Word("Hi all", 1.0, 2.0), Word("I <3 you", 2.0, 3.0)]


def test_captions_that_roll_up_and_overlap():
    content = """WEBVTT

00:00.000 --> 00:02.000
so this

00:02.000 --> 00:02.010
so this

00:02.010 --> 00:04.000
so this
is how

00:03.500 --> 00:05.000
over it

00:03.500 --> 00:04.500
and more

00:09.000 --> 00:10.000
over it
"""
    assert subtitles.parse(content) == [
        Word("so this", 0.0, 2.0),
        Word("is how", 2.01, 3.5),
        Word("and more over it", 3.5, 5.0),
        Word("over it", 9.0, 10.0),
    ]


def test_broken_subtitles():
    with pytest.raises(ValueError, match="found no line with times"):
        subtitles.parse("just text\n")
    with pytest.raises(ValueError, match="line 2: expected times as 00:01:02,500"):
        subtitles.parse("1\nsoon --> later\nhello\n")


def test_what_lies_beside_a_video(tmp_path):
    read = BesideReader()
    srt = write(tmp_path / "a.srt", SRT)
    assert read(srt) == Cues((Word("HELLO THERE YOU ME", 1.0, 2.5), Word("LATE", 60.5, 3600.0)))
    assert BesideReader(verbatim=True)(srt).timed[1].text == "[music]"
    assert read(write(tmp_path / "a.txt", "Well,\r\nthat's it.\n", "utf-16")) == WholeText("WELL THAT'S IT")
    assert BesideReader(verbatim=True)(tmp_path / "a.txt") == WholeText("Well, that's it.")
    assert read(write(tmp_path / "b.txt", lrs_text("SO IT", [("SO", 0, 1)]))) == Words((Word("SO", 0, 1),))
    assert read(write(tmp_path / "c.txt", lrs_text("SO {NS} IT"))) == WholeText("SO IT")
    with pytest.raises(TranscriptError, match="the text that is spoken, found none"):
        read(write(tmp_path / "d.txt", "...\n"))
    with pytest.raises(TranscriptError, match=r"e\.vtt: expected subtitles"):
        read(write(tmp_path / "e.vtt", "WEBVTT\n"))


def test_transcripts_of_a_model(tmp_path):
    csv_path = write(
        tmp_path / "h.csv", 'id,reference,hypothesis,errors\nvox2/seg/dev/i/v/00001_00,,"well, yes",0\n'
    )
    found = asr_transcripts.read(csv_path)
    assert found.get("dev/i/v/00001_00").text == "well, yes"
    assert found.get("other/i/v/00001_00.mp4") is found.get("i/v/00001_00")
    assert found.get("i/w/00001_00") is None
    word = {"word": " Yes", "start": 0.5, "end": 1}
    for name, content in {
        "a.json": json.dumps({"i/v/1": {"text": "Yes", "words": [word]}, "i/v/2": "no"}),
        "b.json": json.dumps([{"id": "i/v/1", "words": [word]}, {"path": "i/v/2.mp4", "transcript": "no"}]),
        "c.jsonl": '{"id": "i/v/1", "text": "Yes", "words": [{"word": "Yes", "start": 0.5, "end": 1}]}\n\n'
        '{"id": "i/v/2", "text": "no"}\n',
    }.items():
        found = asr_transcripts.read(write(tmp_path / name, content))
        assert found.get("i/v/1") == asr_transcripts.Recognised("Yes", (Word("Yes", 0.5, 1.0),))
        assert found.get("i/v/2").text == "no"


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("a.txt", "x", "expected transcripts as .csv, .json, .jsonl"),
        ("a.csv", "name,text\nx,y\n", "row 2: expected one of id, utterance, path"),
        ("a.csv", "id,text\n", "expected transcripts, found none"),
        ("a.json", "{", "cannot be read as json"),
        ("a.json", "3", "expected an object or a list, found int"),
        (
            "a.json",
            '[{"id": "x", "text": "y", "words": [{"word": "y"}]}]',
            "expected words with word, start and end",
        ),
        ("a.jsonl", '"x"', "line 1: expected an object"),
    ],
)
def test_broken_transcripts_of_a_model(tmp_path, name, content, reason):
    with pytest.raises(ValueError, match="a\\.") as caught:
        asr_transcripts.read(write(tmp_path / name, content))
    assert reason in str(caught.value)
