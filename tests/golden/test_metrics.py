"""Word error rates against recordings of the original scorers."""

import json
from pathlib import Path

import pytest

from llama_avsr.metrics import score

RECORDED = json.loads((Path(__file__).parent / "training" / "wer.json").read_text(encoding="utf-8"))


def test_corpus_wer_and_errors_of_each_clip():
    corpus = RECORDED["corpus"]
    scores = score(corpus["ref"], corpus["hyp"])
    assert [[edits.errors, edits.length] for edits in scores.per_utterance] == corpus["per_utt_err_len"]
    assert (scores.words.errors, scores.num_words) == (corpus["n_err"], corpus["n_total"])
    assert scores.wer == pytest.approx(corpus["wer"])


def test_word_distances():
    examples = RECORDED["word_distance"]
    assert len(examples) == 5
    # The original lower-cases there; no normalisation here.
    pairs = [(reference.lower(), hypothesis.lower()) for reference, hypothesis, _ in examples]
    scores = score(*zip(*pairs, strict=True))
    assert [edits.errors for edits in scores.per_utterance] == [errors for *_, errors in examples]
