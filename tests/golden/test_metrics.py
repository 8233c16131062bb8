"""Word error rates and BLEU against recordings of the original scorers."""

import json
from pathlib import Path

import pytest

from llama_avsr.evaluation.metrics import bleu_score, score, score_by_direction

GOLDEN = Path(__file__).parent


def read(*path):
    return json.loads(GOLDEN.joinpath(*path).read_text(encoding="utf-8"))


CORPORA = {
    "training": read("training", "wer.json")["corpus"],
    "vsp_llm": read("vsp_llm", "metrics.json")["wer"],
}
TRANSLATIONS = {name: read("vsp_llm", "metrics.json")[name] for name in ("bleu", "bleu_en")}
DECODED = read("vsp_llm", "decode_scores.json")


@pytest.mark.parametrize("name", CORPORA)
def test_corpus_wer_and_errors_of_each_clip(name):
    corpus = CORPORA[name]
    scores = score(corpus["ref"], corpus["hyp"])
    assert [[edits.errors, edits.length] for edits in scores.per_utterance] == corpus["per_utt_err_len"]
    assert (scores.words.errors, scores.num_words) == (corpus["n_err"], corpus["n_total"])
    assert scores.wer == pytest.approx(corpus["wer"], abs=1e-9)


def test_word_distances():
    examples = read("training", "wer.json")["word_distance"]
    assert len(examples) == 5
    # The original lower-cases there; no normalisation here.
    pairs = [(reference.lower(), hypothesis.lower()) for reference, hypothesis, _ in examples]
    scores = score(*zip(*pairs, strict=True))
    assert [edits.errors for edits in scores.per_utterance] == [errors for *_, errors in examples]


@pytest.mark.parametrize("name", TRANSLATIONS)
def test_corpus_bleu(name):
    corpus = TRANSLATIONS[name]
    assert bleu_score(corpus["ref"], corpus["hyp"]).bleu == pytest.approx(corpus["score"], abs=1e-9)


def test_what_bleu_consists_of():
    corpus = TRANSLATIONS["bleu"]
    assert "" in corpus["ref"]
    scores = bleu_score(corpus["ref"], corpus["hyp"])
    assert scores.precisions == pytest.approx(corpus["precisions"], abs=1e-9)
    assert scores.brevity_penalty == pytest.approx(corpus["bp"], abs=1e-9)
    assert (scores.hypothesis_tokens, scores.reference_tokens) == (corpus["sys_len"], corpus["ref_len"])
    # All but sacrebleu's version.
    assert scores.signature.rpartition("|")[0] == corpus["signature"].rpartition("|")[0]


def test_decoded_sets():
    recognised, translated = DECODED["en"], DECODED["en-es"]
    directions = [("en", "en")] * len(recognised["ref"]) + [("en", "es")] * len(translated["ref"])
    assert len(directions) == 6
    found = score_by_direction(
        directions, recognised["ref"] + translated["ref"], recognised["hyp"] + translated["hyp"]
    )
    words = found.pooled["recognition"].words
    assert (words.errors, words.length) == (recognised["n_err"], recognised["n_total"])
    assert found.details()["wer"] == recognised["wer"]
    assert found.details()["bleu"] == translated["bleu"]
