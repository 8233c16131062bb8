import csv
import json
import math

import pytest

from datamodules.files import write_whole
from llama_avsr.evaluation.metrics import score, score_by_direction
from llama_avsr.evaluation.report import (
    Evaluation,
    WerRow,
    screen,
    side_by_side,
    summary,
    wer_table,
    write,
)

REFERENCES = ["lay green, by x", "bin blue", "", "ocho pájaros", "set white"]
HYPOTHESES = ["lay red, by x now", "", "uh", 'ocho "pájaros"', "set white"]


def evaluation(references=REFERENCES, hypotheses=HYPOTHESES, **changes):
    values = {
        "ids": [f"demo/test/{index}" for index in range(len(references))],
        "references": references,
        "hypotheses": hypotheses,
        "result": score(references, hypotheses),
        "model": "runs/audio/average",
        "label_file": "test.csv",
        "speech_seconds": 1800.0,
        "decode_seconds": 90.0,
        "decoding": {"num_beams": 15},
    }
    return Evaluation(**{**values, **changes})


def test_hypotheses_file_reads_back(tmp_path):
    write(tmp_path / "results", evaluation())
    with (tmp_path / "results" / "hypotheses.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["reference"] for row in rows] == REFERENCES
    assert [row["hypothesis"] for row in rows] == HYPOTHESES
    first = {
        name: int(rows[0][name]) for name in ("errors", "substitutions", "deletions", "insertions", "words")
    }
    assert first == {"errors": 2, "substitutions": 1, "deletions": 0, "insertions": 1, "words": 4}
    assert sum(int(row["errors"]) for row in rows) == evaluation().result.words.errors


def test_summary_file(tmp_path):
    write(tmp_path, evaluation(snr_db=-5.0))
    found = json.loads((tmp_path / "summary.json").read_text(encoding="utf-8"))
    scores = evaluation().result
    assert (found["wer"], found["cer"]) == (pytest.approx(scores.wer), pytest.approx(scores.cer))
    assert (found["substitutions"], found["deletions"], found["insertions"]) == (2, 2, 2)
    assert found["wer_interval_95"] == pytest.approx(list(scores.interval))
    assert (found["num_clips"], found["speech_hours"], found["snr_db"]) == (5, 0.5, -5.0)
    assert found["real_time_factor"] == pytest.approx(0.05)
    assert found["decoding"] == {"num_beams": 15}
    assert {"python", "torch", "transformers", "jiwer"} <= found["versions"].keys()
    assert found["notes"] == list(scores.notes) != []
    assert summary(evaluation())["snr_db"] is None


def test_infinite_rate_is_null_in_json(tmp_path):
    nothing = evaluation([""], ["a"], speech_seconds=0.0)
    assert math.isinf(nothing.result.wer)
    write(tmp_path, nothing)
    found = json.loads((tmp_path / "summary.json").read_text())
    assert found["wer"] is None
    assert found["wer_interval_95"] == [None, None]
    assert found["real_time_factor"] is None
    assert "WER" in screen(nothing)


def test_only_finished_files_stay(tmp_path, monkeypatch):
    write(tmp_path, evaluation())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["hypotheses.csv", "summary.json"]
    before = (tmp_path / "summary.json").read_text()

    def full_disk(*_args):
        raise OSError("no space left")

    monkeypatch.setattr("pathlib.Path.replace", full_disk)
    with pytest.raises(OSError, match="no space"):
        write_whole(tmp_path / "summary.json", "half")
    monkeypatch.undo()
    assert (tmp_path / "summary.json").read_text() == before
    assert len(list(tmp_path.iterdir())) == 2


def test_unequal_lengths_are_refused():
    with pytest.raises(ValueError, match="4 ids, 5 references and 5 hypotheses"):
        evaluation(ids=["a", "b", "c", "d"])


def test_screen_says_what_matters():
    text = screen(evaluation(snr_db=0.0), num_worst=2, num_samples=2)
    scores = evaluation().result
    assert f"{scores.wer:.2f} %" in text
    assert "0 dB" in text
    assert "clean" in screen(evaluation())
    assert "5 (30.0 min of speech)" in text
    assert "real-time factor 0.05" in text
    assert "empty reference" in text
    worst, samples = text.split("Worst clips")[1].split("Samples")
    assert [line.split(":")[0].strip() for line in worst.splitlines() if "demo/" in line] == [
        "demo/test/0",
        "demo/test/1",
    ]
    assert samples.count("demo/test/") == 2
    assert not set(worst.split()) & {"demo/test/2", "demo/test/3", "demo/test/4"}


def test_screen_of_a_perfect_test_set_has_no_worst_clips():
    assert "Worst" not in screen(evaluation(["a b"], ["a b"]))


def test_side_by_side():
    assert side_by_side("lay green by x soon", "lay red x soon now", indent="") == [
        "REF: lay green by x soon ***",
        "HYP: lay red   ** x soon now",
        "         S     D         I",
    ]


def test_side_by_side_wraps():
    lines = side_by_side(" ".join(["word"] * 60), " ".join(["word"] * 59))
    assert max(map(len, lines)) <= 100
    assert sum(line.split().count("word") for line in lines if "REF" in line) == 60
    assert sum(line.split().count("word") for line in lines if "HYP" in line) == 59


def test_wer_table_orders_conditions_and_aligns():
    rows = [
        WerRow(model="audio", voices="seen", wer={-5.0: (51.0, 47.0, 55.0), "clean": (7.54, 6.0, 9.0)}),
        WerRow(model="audio-visual", voices="unseen", wer={0.0: (13.0, 11.0, 15.0), 5: (11.0, 9.0, 13.0)}),
    ]
    header, rule, first, second = wer_table(rows).splitlines()
    assert [cell.strip() for cell in header.strip("|").split("|")] == [
        "model",
        "voices",
        "clean",
        "5 dB",
        "0 dB",
        "-5 dB",
    ]
    assert len({len(line) for line in (header, rule, first, second)}) == 1
    assert "7.5 [6.0, 9.0]" in first
    assert first.rstrip(" |").endswith("51.0 [47.0, 55.0]")
    assert second.rstrip().endswith("- |")


MIXED = [("en", "en"), ("en", "es"), ("en", "en"), ("en", "es"), ("en", "en")]


def mixed(**changes):
    return evaluation(directions=MIXED, result=score_by_direction(MIXED, REFERENCES, HYPOTHESES), **changes)


def test_files_of_a_mixed_set(tmp_path):
    write(tmp_path, mixed(tokens_per_frame=0.595))
    found = json.loads((tmp_path / "summary.json").read_text(encoding="utf-8"))
    assert found["metric"] == "wer+bleu"
    assert found["directions"] == {"en": 3, "en-es": 2}
    assert found["by_direction"]["en"]["wer"] == found["wer"]
    assert found["by_direction"]["en-es"]["bleu"] == found["bleu"]
    assert found["tokens_per_frame"] == 0.595
    with (tmp_path / "hypotheses.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["direction"] for row in rows] == ["en", "en-es", "en", "en-es", "en"]
    assert [bool(row["errors"]) for row in rows] == [True, False, True, False, True]
    assert [bool(row["sentence_bleu"]) for row in rows] == [False, True, False, True, False]


def test_screen_of_a_mixed_set():
    text = screen(mixed(tokens_per_frame=0.5948), num_worst=2)
    assert "speech  0.595 tokens a frame" in text
    assert "speech  " not in screen(mixed())
    assert "  en     WER" in text
    assert "  en-es  BLEU" in text
    worst = text.split("Worst clips")[1].split("Samples")[0]
    assert "demo/test/0: en, errors 2" in worst
    assert "demo/test/1: en-es, sentence BLEU 0.0" in worst


def test_screen_of_one_direction_names_a_translation():
    references, hypotheses = ["uno dos"], ["uno tres"]
    for direction, said in [(("en", "es"), " (en-es)"), (("en", "en"), "")]:
        directions = [direction]
        found = score_by_direction(directions, references, hypotheses)
        text = screen(evaluation(references, hypotheses, directions=directions, result=found))
        assert text.startswith(f"runs/audio/average on test.csv{said}, clean\n")


def test_each_clip_has_a_direction():
    with pytest.raises(ValueError, match="found 1 directions for 5 clips"):
        evaluation(directions=[("en", "en")])
    assert "directions" not in summary(evaluation())


def test_side_by_side_shows_what_nobody_sees():
    reference, hypothesis, kinds = side_by_side("uno\u200b dos", "uno dos", indent="")
    assert reference == "REF: uno<U+200B> dos"
    assert (hypothesis.index("dos"), kinds.index("S")) == (reference.index("dos"), reference.index("uno"))
