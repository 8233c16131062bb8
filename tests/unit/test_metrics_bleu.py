import numpy as np
import pytest
from sacrebleu.metrics import BLEU

from llama_avsr.evaluation.metrics import bleu_score, metric
from llama_avsr.evaluation.metrics import bootstrap as bootstrap_module
from llama_avsr.evaluation.metrics.bootstrap import redraws, sums_of_redraws

WORDS = ["el", "la", "barco", "río", "niña", "canta", "¿dónde?", "sí,", "pájaro", "."]


def made_up(num_clips, seed=0):
    """References, and hypotheses that share about two words in three with them."""
    rng = np.random.default_rng(seed)
    references = [list(rng.choice(WORDS, size=rng.integers(1, 12))) for _ in range(num_clips)]
    hypotheses = [[word if rng.random() < 0.7 else rng.choice(WORDS) for word in ref] for ref in references]
    return [" ".join(words) for words in references], [" ".join(words) for words in hypotheses]


def test_interval_is_that_of_sacrebleu_over_the_same_redraws():
    references, hypotheses = made_up(40)
    scores = bleu_score(references, hypotheses, num_resamples=60, seed=5)
    redrawn = [
        BLEU().corpus_score([hypotheses[i] for i in clips], [[references[i] for i in clips]]).score
        for drawn in redraws(40, 60, seed=5)
        for clips in drawn
    ]
    assert len(set(redrawn)) > 50
    assert scores.interval == pytest.approx(tuple(np.percentile(redrawn, [2.5, 97.5])), abs=1e-9)


def test_interval_is_deterministic_and_holds_the_score():
    texts = made_up(100)
    scores = bleu_score(*texts, seed=3)
    assert scores.interval == bleu_score(*texts, seed=3).interval
    assert scores.interval != bleu_score(*texts, seed=4).interval
    assert scores.interval[0] < scores.bleu < scores.interval[1]


def test_interval_does_not_depend_on_memory(monkeypatch):
    values = np.arange(21).reshape(7, 3)
    whole = sums_of_redraws(values, 50, seed=0)
    assert whole.shape == (50, 3)
    monkeypatch.setattr(bootstrap_module, "_MAX_DRAWS_IN_MEMORY", 20)
    assert (sums_of_redraws(values, 50, seed=0) == whole).all()
    assert (whole == np.concatenate([values[drawn].sum(axis=1) for drawn in redraws(7, 50, 0)])).all()


def test_nothing_is_normalised():
    assert bleu_score(["sí canta el pájaro"], ["sí canta el pájaro"]).bleu == pytest.approx(100)
    for other in (
        "Sí canta el pájaro",
        "si canta el pájaro",
        "sí canta el pájaro.",
        "si\u0301 canta el pájaro",
    ):
        assert bleu_score(["sí canta el pájaro"], [other]).bleu < 99


def test_single_clip_has_a_point_for_an_interval():
    scores = bleu_score(["uno dos tres cuatro cinco"], ["uno dos tres cuatro seis"])
    assert 0 < scores.bleu < 100
    assert scores.interval == pytest.approx((scores.bleu, scores.bleu))


@pytest.mark.parametrize(
    ("hypothesis", "said"), [("a b", "the 2 token(s) of such hypotheses count as wrong"), ("", "so are the")]
)
def test_an_empty_reference(hypothesis, said):
    rest = "uno dos tres cuatro cinco"
    scores = bleu_score([rest, " "], [rest, hypothesis])
    assert scores.bleu == pytest.approx(BLEU().corpus_score([rest, hypothesis], [[rest, " "]]).score)
    assert (scores.bleu < 99) == bool(hypothesis)
    assert len(scores.notes) == 1
    assert scores.notes[0].startswith("1 empty reference(s): ")
    assert said in scores.notes[0]
    assert scores.worst_first() == ([1] if hypothesis else [])
    # A redraw of the silent clip alone says nothing about BLEU.
    assert hypothesis or scores.interval == pytest.approx((100, 100))


@pytest.mark.parametrize("hypotheses", [["a", "b c"], ["", ""]])
def test_nothing_but_empty_references(hypotheses):
    scores = bleu_score(["", "  "], hypotheses)
    assert (scores.bleu, scores.interval) == (0, (0, 0))
    assert any("no reference holds a word" in note for note in scores.notes)
    assert scores.headline()


def test_empty_hypotheses():
    scores = bleu_score(["uno dos", "tres"], ["", ""])
    assert (scores.bleu, scores.brevity_penalty, scores.hypothesis_tokens) == (0, 0, 0)
    assert scores.worst_first() == [0, 1]


def test_zero_width_characters_are_compared_and_said():
    scores = bleu_score(["uno dos\u200b tres cuatro"], ["uno dos tres cuatro"])
    assert scores.bleu < 99
    assert scores.notes == ("1 reference(s) with zero-width characters, compared as they are",)
    # Not white space: alone it is a token.
    assert bleu_score(["\u200b"], [""]).reference_tokens == 1


def test_worst_first_by_sentence_bleu_then_length():
    references = ["uno dos tres", "cuatro", "cinco seis", "uno dos tres cuatro", "x"]
    hypotheses = ["uno dos tres", "nada", "nada aquí", "uno dos tres cinco", "x"]
    scores = bleu_score(references, hypotheses)
    assert scores.worst_first() == [2, 1, 3]
    assert scores.columns()["sentence_bleu"][:3] == [100, 0, 0]
    assert scores.columns()["reference_tokens"] == [3, 1, 2, 4, 1]
    assert scores.of_clip(1) == "sentence BLEU 0.0, 1 tokens for 1"


def test_signature_names_the_defaults():
    scores = bleu_score(["a b"], ["a c"])
    assert scores.signature.startswith("nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp|version:")
    assert any(scores.signature in line for line in scores.headline())
    assert scores.details()["signature"] == scores.signature


def test_sample_scores():
    assert metric("wer").sample_score("a b", "a c") == {"WER (%)": 50}
    assert metric("bleu").sample_score("a b", "a b") == {"sentence BLEU": pytest.approx(100)}


@pytest.mark.parametrize(("references", "hypotheses"), [([], []), (["a"], []), (["a"], ["a", "b"])])
def test_unequal_or_no_clips(references, hypotheses):
    with pytest.raises(ValueError, match="one hypothesis for each reference"):
        bleu_score(references, hypotheses)
