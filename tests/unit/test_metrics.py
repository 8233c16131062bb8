import math

import numpy as np
import pytest

from llama_avsr.evaluation.metrics import METRICS, Edits, aligned, bootstrap_interval, metric, score


def test_counts_of_a_drawn_example():
    scores = score(["the cat sat on the mat", "hello"], ["the bat sat the mat now", "hello"])
    assert (scores.substitutions, scores.deletions, scores.insertions, scores.num_words) == (1, 1, 1, 7)
    assert scores.wer == pytest.approx(100 * 3 / 7)
    assert scores.per_utterance[1] == Edits(0, 0, 0, 1)
    assert score(["abcd"], ["abxd"]).cer == pytest.approx(25)


def test_words_are_those_of_split():
    reference, hypothesis = "a\tb\u00a0c", "  a  b \n c "
    assert reference.split() == hypothesis.split()
    assert score([reference], [hypothesis]).words == Edits(0, 0, 0, 3)
    assert score(["a b"], ["A b."]).substitutions == 2


def test_corpus_level_not_mean_of_rates():
    scores = score(["a", "b c d e f g h i j"], ["x", "b c d e f g h i j"])
    assert scores.wer == pytest.approx(10)


@pytest.mark.parametrize(
    ("reference", "hypothesis", "expected"),
    [("", "a b", Edits(0, 0, 2, 0)), ("a b", "", Edits(0, 2, 0, 2)), ("", "", Edits()), (" ", "\t", Edits())],
)
def test_empty_texts(reference, hypothesis, expected):
    scores = score([reference, "one two"], [hypothesis, "one two"])
    assert scores.per_utterance[0] == expected
    assert scores.wer == pytest.approx(100 * expected.errors / (2 + expected.length))
    assert any("empty reference" in note for note in scores.notes) == (not reference.split())


def test_nothing_but_empty_references():
    assert score([""], [""]).wer == 0
    scores = score(["", ""], ["a", ""])
    assert math.isinf(scores.wer)
    assert scores.interval == (math.inf, math.inf)


def test_zero_width_characters_are_said():
    scores = score(["\u200b", "a"], ["", "a"])
    assert scores.deletions == 1
    assert any("zero-width" in note for note in scores.notes)


@pytest.mark.parametrize(("references", "hypotheses"), [([], []), (["a"], []), (["a"], ["a", "b"])])
def test_unequal_or_no_clips(references, hypotheses):
    with pytest.raises(ValueError, match="one hypothesis for each reference"):
        score(references, hypotheses)


def test_interval_is_deterministic_and_holds_the_rate():
    rng = np.random.default_rng(1)
    edits = [Edits(int(errors), 0, 0, 10) for errors in rng.integers(0, 4, 200)]
    rate = sum(edits, Edits()).rate_percent
    low, high = bootstrap_interval(edits, seed=3)
    assert (low, high) == bootstrap_interval(edits, seed=3)
    assert (low, high) != bootstrap_interval(edits, seed=4)
    assert low < rate < high
    # Normal approximation: the mean of 200 independent clips.
    half = 1.96 * np.std([edit.errors * 10 for edit in edits]) / math.sqrt(200)
    assert (high - low) / 2 == pytest.approx(half, rel=0.05)


def test_interval_of_equal_clips_is_a_point():
    assert bootstrap_interval([Edits(1, 0, 0, 4)] * 5) == (25.0, 25.0)


def test_interval_does_not_depend_on_memory(monkeypatch):
    edits = [Edits(errors, 0, 0, 5) for errors in (0, 1, 2, 0, 3)]
    whole = bootstrap_interval(edits, num_resamples=500)
    monkeypatch.setattr("llama_avsr.evaluation.metrics.bootstrap._MAX_DRAWS_IN_MEMORY", 7)
    assert bootstrap_interval(edits, num_resamples=500) == whole


def test_aligned():
    assert aligned("a b c d", "a x c d e") == [
        ("a", "a", ""),
        ("b", "x", "S"),
        ("c", "c", ""),
        ("d", "d", ""),
        ("", "e", "I"),
    ]
    assert aligned("a b", "b") == [("a", "", "D"), ("b", "b", "")]
    assert aligned("", "") == []


def test_aligned_agrees_with_the_counts():
    rng = np.random.default_rng(0)
    texts = [" ".join(rng.choice(list("abc"), size=rng.integers(0, 8))) for _ in range(60)]
    for reference, hypothesis in zip(texts[:30], texts[30:], strict=True):
        kinds = [kind for *_, kind in aligned(reference, hypothesis)]
        edits = score([reference], [hypothesis], num_resamples=1).per_utterance[0]
        found = (kinds.count("S"), kinds.count("D"), kinds.count("I"))
        assert found == (edits.substitutions, edits.deletions, edits.insertions)


@pytest.mark.parametrize("name", METRICS)
def test_every_metric_can_be_reported(name):
    result = metric(name).score(["a b", "c"], ["a x", "c"])
    assert metric(name).name == name
    assert result.headline()
    assert result.worst_first() == [0]
    assert result.details()[name] == result.value
    assert {len(values) for values in result.columns().values()} == {2}


def test_unknown_metric_lists_the_right_ones():
    with pytest.raises(ValueError, match=r"unknown metric 'wr'; expected one of: .*wer"):
        metric("wr")
