"""The report in HTML: whole, without network, with every error marked and nothing from outside unescaped."""

import base64
import csv
import json
import re
from html.parser import HTMLParser

import pytest

from llama_avsr.commands import report as command
from llama_avsr.evaluation import html_report


class Tags(HTMLParser):
    """Which tags there are, and whether they are closed."""

    VOID = ("meta", "img")

    def __init__(self):
        super().__init__()
        self.open, self.seen, self.links = [], [], []

    def handle_starttag(self, tag, attrs):
        self.seen.append((tag, dict(attrs)))
        self.links += [value for name, value in attrs if name in ("src", "href")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def result(folder, hypotheses, snr_db=None, origin=None):
    folder.mkdir(parents=True)
    rows = [(f"own/{place}", "lay red <b>now</b>", text) for place, text in enumerate(hypotheses)]
    with (folder / "hypotheses.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("id", "reference", "hypothesis"), *rows])
    (folder / "summary.json").write_text(json.dumps({"snr_db": snr_db, "decoding": {}, "noise": None}))
    if origin:
        (folder / "origin.json").write_text(json.dumps(origin))
    return folder


def parsed(path):
    tags = Tags()
    tags.feed(path.read_text(encoding="utf-8"))
    assert tags.open == []
    return tags


@pytest.fixture
def origin(tmp_path):
    media = tmp_path / "set" / "own"
    media.mkdir(parents=True)
    (media / "0.mp4").write_bytes(b"mouth")
    (media / "0.wav").write_bytes(b"sound")
    labels = tmp_path / "set" / "labels" / "test.csv"
    labels.parent.mkdir()
    labels.write_text("own,0.mp4,5,,lay red\nown,1.mp4,5,,lay red\n")
    return {
        "program": {"commit": "abc123"},
        "model": "runs/a",
        "label_file": {"path": str(labels), "sha256": "00ff"},
        "options": {"data": {"root_dir": str(tmp_path / "set")}},
    }


def test_two_systems_under_two_conditions(tmp_path, capsys, origin):
    for system, wrong in (("a", "lay bed <i>now</i>"), ("b", "lay red <b>now</b>")):
        result(tmp_path / system / "test", [wrong, "lay red", ""], origin=origin)
        result(tmp_path / system / "test_0dB", [wrong] * 3, snr_db=0.0)
    out = tmp_path / "report.html"
    command.main([str(tmp_path / "a"), str(tmp_path / "b"), "--out", str(out)])
    assert "report.html" in capsys.readouterr().out
    text, tags = out.read_text(encoding="utf-8"), parsed(out)
    assert all(link.startswith("data:") for link in tags.links)
    assert "http" not in text
    marks = [attributes.get("class") for tag, attributes in tags.seen if tag == "span"]
    assert {"S", "D", "I"} <= set(marks)
    assert '<span class="S">red → bed</span>' in text
    assert "<i>" not in text
    assert "&lt;b&gt;now&lt;/b&gt;" in text
    titles = re.findall("<h2>(.*?)</h2>", text)
    assert titles[:4] == ["Systems", "Scores", "WER in noise", "Verdicts"]
    assert "Worst clips of A, test" in titles
    assert "Clips that changed between A and B, 0dB" in titles
    assert "no difference can be claimed between A and B" in text
    assert "abc123" in text
    assert base64.b64encode(b"mouth").decode() in text
    assert base64.b64encode(b"sound").decode() in text


def test_large_clips_and_other_systems_are_shown_without_media(tmp_path, monkeypatch, origin):
    monkeypatch.setattr(html_report, "MAX_CLIP_BYTES", 4)
    result(tmp_path / "a", ["lay", "bed"], origin=origin)
    out = tmp_path / "a.html"
    command.main([str(tmp_path / "a"), "--out", str(out), "--show", "1"])
    tags = parsed(out)
    assert tags.links == []
    assert [attributes for tag, attributes in tags.seen if attributes.get("class") == "clip"] == [
        {"class": "clip"}
    ]
    (tmp_path / "theirs.json").write_text(json.dumps({"ref": ["a b"], "hypo": ["a c"]}))
    command.main([str(tmp_path / "theirs.json"), "--out", str(out)])
    assert "b → c" in out.read_text(encoding="utf-8")
    (tmp_path / "theirs.trn").write_text("a b (1)\n")
    with pytest.raises(ValueError, match="found no references"):
        command.main([str(tmp_path / "theirs.trn"), "--out", str(out)])
