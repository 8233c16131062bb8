"""Scores of hypotheses that lie in files, their parts, and the words that are confused."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from datamodules.batch import Utterance
from llama_avsr.commands import score as command
from llama_avsr.evaluation import report
from llama_avsr.evaluation.breakdown import by_length, by_speaker
from llama_avsr.evaluation.confusions import confusions
from llama_avsr.evaluation.hypotheses import read
from llama_avsr.evaluation.metrics import bleu_score, score, score_by_direction
from llama_avsr.evaluation.normalisation import normalisation
from llama_avsr.evaluation.run import _evaluation
from llama_avsr.lightning.module import Decoded
from llama_avsr.options import Options

SHAPES = {"bat": "bilabial", "pat": "bilabial", "mat": "bilabial", "cat": "velar", "rat": "rhotic"}


def test_parts_by_length_add_up():
    references = ["a b", "a b c d e f", "a b c", "", " ".join("a" * 30)]
    hypotheses = ["a x", "a b c d e f", "a b", "y", " ".join("a" * 28)]
    result = score(references, hypotheses)
    shares = by_length(result)
    assert [(share.name, share.num_clips, share.num_errors) for share in shares] == [
        ("0-5 words", 3, 3),
        ("6-10 words", 1, 0),
        ("21+ words", 1, 2),
    ]
    assert sum(share.num_words for share in shares) == result.num_words
    assert shares[0].wer == pytest.approx(100 * 3 / 5)
    assert shares[0].interval_95[0] < shares[0].wer < shares[0].interval_95[1]


def test_parts_by_speaker_leave_translations_out():
    directions = [("en", "en"), ("en", "es"), ("en", "en")]
    result = score_by_direction(directions, ["a b", "uno", "c d"], ["a b", "dos", "c x"])
    found = by_speaker(result, ["s1", "s1", "s2"])
    assert [(share.name, share.num_clips, share.wer) for share in found] == [("s2", 1, 50.0), ("s1", 1, 0.0)]
    assert by_speaker(result, None) == []
    assert by_length(bleu_score(["a b c d"], ["a b c d"])) == []


def test_intervals_are_over_speakers_where_that_is_wider():
    """Half of the speakers are understood, the others are not: so many clips are no evidence of their own."""
    speakers = [f"s{place // 20}" for place in range(200)]
    references = ["a b c d"] * 200
    hypotheses = ["a b c d" if place // 20 % 2 else "x y z d" for place in range(200)]
    by_clip, of_both = score(references, hypotheses), score(references, hypotheses, speakers)
    assert (by_clip.interval_over, of_both.interval_over) == ("clips", "speakers")
    assert np.ptp(of_both.interval) > 2 * np.ptp(by_clip.interval)
    assert np.ptp(of_both.cer_interval) > np.ptp(by_clip.cer_interval)
    assert "over speakers" in of_both.headline()[0]
    assert of_both.details()["interval_over"] == "speakers"
    translated = bleu_score(references, hypotheses, speakers)
    assert translated.interval_over == "speakers"
    few = score(references, hypotheses, [f"s{place % 3}" for place in range(200)])
    assert few.interval == by_clip.interval
    assert any("3 speakers, too few" in note for note in few.notes)


def test_chrf_comes_with_bleu():
    scores = bleu_score(["the cat sat on the mat"], ["the cat sat on a mat"])
    assert 50 < scores.chrf < 100
    assert scores.details()["chrf"] == scores.chrf
    assert "nc:6" in scores.chrf_signature
    assert bleu_score(["a b c d"], ["a b c d"]).chrf == pytest.approx(100)


def test_confusions():
    found = confusions(
        ["the bat sat", "the bat ran", "the cat", "a"],
        ["the pat sat", "the mat", "the rat", "a b"],
        lambda word: (SHAPES[word],),
    )
    assert found.substitutions == {("bat", "pat"): 1, ("bat", "mat"): 1, ("cat", "rat"): 1}
    assert (found.deletions, found.insertions) == ({"ran": 1}, {"b": 1})
    assert found.alike == {("bat", "pat"), ("bat", "mat")}
    assert found.share_alike == pytest.approx(100 * 2 / 3)
    # Two of three said words, and two of three written ones, are bilabial.
    assert found.share_by_chance == pytest.approx(100 * 4 / 9)
    assert confusions(["a"], ["b"]).share_alike is None
    assert confusions(["a"], ["a"], lambda word: ()).share_alike is None


def test_lips_of_words():
    pytest.importorskip("espeakng_loader")
    from llama_avsr.demo.corpus.lips_of_words import lips_of

    assert lips_of("pat") == lips_of("bat") == lips_of("mat") != lips_of("fat")
    assert lips_of("red") != lips_of("bed")


def test_command(tmp_path, capsys):
    rows = [("id", "seconds", "reference", "hypothesis")]
    rows += [
        (f"s{place % 7}/{place}", 1.5, "Lay red now", "lay red" if place % 2 else "lay bed now")
        for place in range(14)
    ]
    with (tmp_path / "h.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    out = tmp_path / "out"
    command.main([str(tmp_path / "h.csv"), "--normalise", "lower", "--output-dir", str(out), "--show", "2"])
    screen = capsys.readouterr().out
    assert "normalisation: lower" in screen
    assert "WER     33.33 %" in screen
    assert "0-5 words" in screen
    assert "and 5 more" in screen
    assert "7  red -> bed" in screen
    assert "Deleted: now 7" in screen
    found = json.loads((out / "score.json").read_text())
    assert (found["num_clips"], found["normalisation"], len(found["by_speaker"])) == (14, "lower", 7)
    assert found["confusions"] == [{"said": "red", "written": "bed", "count": 7, "alike_on_lips": False}]
    assert list(read(out / "hypothesis.trn").hypotheses) == list(read(out / "hypothesis.ctm").hypotheses)
    assert (out / "reference.stm").read_text().startswith("s0/0 1 s0/0 0.000 1.500 lay red now\n")
    command.main([str(out / "hypothesis.ctm"), "--references", str(out / "reference.trn")])
    assert "WER     33.33 %" in capsys.readouterr().out


def clip(text, hypothesis, line, languages=("en", "en")):
    utterance = Utterance(
        id=f"lrs3/s{line % 6}/{line}",
        video_path=Path("a.mp4"),
        audio_path=Path("a.wav"),
        num_frames=50,
        text=text,
        source=f"test.csv:{line}",
        languages=languages,
    )
    return Decoded(utterance, [(hypothesis, -1.0)], num_speech_tokens=10)


def test_evaluation_normalises_and_says_so(tmp_path):
    options = Options().updated({"modality": "video", "test_file": ("t.csv",), "decode_snr_target": "clean"})
    clips = [clip("Lay red.", "lay red", line) for line in range(12)]
    plain = _evaluation(clips, options, "m", 1.0)
    found = _evaluation(clips, options.updated({"normalise": "whisper-english"}), "m", 1.0)
    assert (plain.result.value, found.result.value) == (100.0, 0.0)
    assert plain.normalisation.said == "none"
    assert found.normalisation.said.startswith("whisper-english (transformers ")
    assert f"normalisation: {found.normalisation.said}" in report.screen(found)
    report.write(tmp_path, found)
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["normalisation"] == found.normalisation.said
    assert [share["num_clips"] for share in summary["by_speaker"]] == [2] * 6
    assert read(tmp_path).references[0] == "Lay red."
    assert list(read(tmp_path).seconds) == [2.0] * 12
    with pytest.raises(ValueError, match="is for English, found es"):
        normalisation("whisper-english", [("en", "es")])
