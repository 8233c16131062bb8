"""Files of hypotheses, ours and those of other systems."""

import json

import pytest

from llama_avsr.evaluation.hypotheses import read
from llama_avsr.evaluation.hypotheses.nist import ctm, trn

IDS, REFERENCES, HYPOTHESES = ["s1/a", "s1/b"], ["lay red, now", "bin"], ["lay red now", "bin it"]
ROWS = [
    {"id": one, "reference": reference, "hypothesis": hypothesis}
    for one, reference, hypothesis in zip(IDS, REFERENCES, HYPOTHESES, strict=True)
]


@pytest.mark.parametrize(
    ("name", "text", "ids", "references"),
    [
        (
            "h.csv",
            'id,reference,hypothesis\ns1/a,"lay red, now",lay red now\ns1/b,bin,bin it\n',
            IDS,
            REFERENCES,
        ),
        ("h.csv", "hyp,Utt_ID\nlay red now,s1/a\nbin it,s1/b\n", IDS, None),
        ("h.tsv", "id\ttext\ns1/a\tlay red now\ns1/b\tbin it\n", IDS, None),
        ("h.json", json.dumps(ROWS), IDS, REFERENCES),
        ("h.json", json.dumps({"utt_id": IDS, "ref": REFERENCES, "hypo": HYPOTHESES}), IDS, REFERENCES),
        ("hypo-123", json.dumps({"ref": REFERENCES, "hypo": HYPOTHESES, "n": 2}), ["0", "1"], REFERENCES),
        ("h.json", json.dumps(dict(zip(IDS, HYPOTHESES, strict=True))), IDS, None),
        (
            "h.jsonl",
            '{"audio_filepath": "s1/a", "text": "lay red, now", "pred_text": "lay red now"}\n'
            '{"audio_filepath": "s1/b", "text": "bin", "pred_text": "bin it"}\n',
            IDS,
            REFERENCES,
        ),
        ("h.trn", ";; made by hand\nlay red now (s1/a)\n\nbin it (s1/b)\n", IDS, None),
        (
            "h.ctm",
            "s1/a 1 0.4 0.2 red 0.9\ns1/a 1 0.1 0.2 lay\ns1/a 1 1.0 0.2 now\ns1/b A 0 1 bin\ns1/b A 1 1 it\n",
            IDS,
            None,
        ),
        (
            "generate-test.txt",
            "INFO loaded\nS-1\tx\nT-1\tbin\nH-1\t-0.3\tb in\nD-1\t-0.3\tbin it\nD-1\t-0.9\tsecond\n"
            "T-0\tlay red, now\nH-0\t-0.1\tlay red now\nP-0\t-0.1\n",
            ["0", "1"],
            REFERENCES,
        ),
    ],
)
def test_formats(tmp_path, name, text, ids, references):
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    found = read(path)
    assert (list(found.ids), list(found.hypotheses)) == (ids, HYPOTHESES)
    assert found.references == references
    assert found.source == str(path)


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("h.csv", "id,words\na,b\n", "no hypotheses; expected a column hypothesis, .*found: id, words"),
        ("h.csv", "id,hypothesis\n", "found no hypotheses"),
        ("h.csv", 'id,hypothesis\na,"b\n', "expected a table"),
        ("h.csv", "id,hypothesis\na\n", "row 1: expected text under hypothesis, found None"),
        ("h.json", "[1, 2]", "expected rows"),
        ("h.json", "{", "found no JSON"),
        ("h.json", '{"hypo": ["a"], "ref": ["a", "b"]}', "unequal lengths: {'hypo': 1, 'ref': 2}"),
        ("h.jsonl", '{"hyp": "a"}\n{', "h.jsonl:2: found no JSON"),
        ("h.trn", "words without id\n", r"h.trn:1: expected words and \(id\)"),
        ("h.trn", "{ a / b } (s1)\n", "alternatives"),
        ("h.ctm", "s1 1 zero 0.1 a\n", "h.ctm:1: expected file, channel, start"),
        ("log.txt", "nothing\n", "found no lines such as H-0"),
    ],
)
def test_what_cannot_be_read_is_said(tmp_path, name, text, said):
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(ValueError, match=said):
        read(path)


def test_no_file_and_no_text(tmp_path):
    with pytest.raises(ValueError, match=r"hypotheses.csv: found no such file; expected a results folder$"):
        read(tmp_path)
    (tmp_path / "a.trn").write_bytes(b"\xff\xfe(a)")
    with pytest.raises(ValueError, match="no UTF-8"):
        read(tmp_path / "a.trn")


def test_ids_that_repeat_are_told_apart(tmp_path):
    (tmp_path / "h.trn").write_text("a (lrs3/en-en)\nb (lrs3/en-en)\n")
    assert read(tmp_path / "h.trn").keys == [("lrs3/en-en", 0), ("lrs3/en-en", 1)]


def test_written_and_read_back(tmp_path):
    texts = ["a  b c", "", "d (e)"]
    (tmp_path / "h.trn").write_text(trn(["1", "2", "3"], texts))
    found = read(tmp_path / "h.trn")
    assert (list(found.ids), list(found.hypotheses)) == (["1", "2", "3"], ["a b c", "", "d (e)"])
    (tmp_path / "h.ctm").write_text(ctm(["1", "2", "3"], texts, [3.0, 1.0, 1.0]))
    assert "1 1 1.000 1.000 b\n" in (tmp_path / "h.ctm").read_text()
    found = read(tmp_path / "h.ctm")
    assert (list(found.ids), list(found.hypotheses)) == (["1", "3"], ["a b c", "d (e)"])
    with pytest.raises(ValueError, match="brackets"):
        trn(["a(b)"], ["c"])
    with pytest.raises(ValueError, match="without spaces"):
        ctm(["a b"], ["c"], [1.0])
