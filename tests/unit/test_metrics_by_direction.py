import math

import pytest

from datamodules.languages import show_direction
from llama_avsr.evaluation.metrics import bleu_score, score, score_by_direction
from llama_avsr.tasks import wer_or_bleu

EN, ES, EN_ES, EN_FR = ("en", "en"), ("es", "es"), ("en", "es"), ("en", "fr")
CLIPS = [
    (EN_ES, "el niño canta una canción", "el niño canta una vieja canción"),
    (EN, "the boy sings a song", "the boy rings a song now"),
    (EN_FR, "le garçon chante une chanson", "un garçon chante une chanson"),
    (EN_ES, "uno dos tres cuatro", "uno dos tres cuatro"),
    (EN, "one two", "one two"),
    (EN_FR, "", "oui"),
]


def result_of(*clips):
    return score_by_direction(*zip(*clips, strict=True))


def texts_of(*directions):
    chosen = [
        (reference, hypothesis) for direction, reference, hypothesis in CLIPS if direction in directions
    ]
    return [list(side) for side in zip(*chosen, strict=True)]


def test_the_metric_follows_the_languages():
    assert [wer_or_bleu(one) for one in (EN, ES, EN_ES, EN_FR)] == ["wer", "wer", "bleu", "bleu"]
    assert [show_direction(one) for one in (EN, EN_ES)] == ["en", "en-es"]


@pytest.mark.parametrize(("direction", "judge"), [(EN, score), (EN_ES, bleu_score)])
def test_one_direction_is_its_metrics_own_result(direction, judge):
    references, hypotheses = texts_of(direction)
    found = score_by_direction([direction] * len(references), references, hypotheses)
    assert found == judge(references, hypotheses)


def test_each_direction_and_each_kind_of_a_mixed_set():
    found = result_of(*CLIPS)
    assert [part.name for part in found.parts] == ["en", "en-es", "en-fr"]
    assert found.metric == "wer+bleu"
    assert math.isnan(found.value)
    details = found.details()
    alone = {
        "en": score(*texts_of(EN)),
        "en-es": bleu_score(*texts_of(EN_ES)),
        "en-fr": bleu_score(*texts_of(EN_FR)),
    }
    for name, result in alone.items():
        expected = {"metric": result.metric, "num_clips": 2, **result.details()}
        assert details["by_direction"][name] == expected
    pooled = bleu_score(*texts_of(EN_ES, EN_FR))
    assert details["translation"] == pooled.details()
    assert (details["wer"], details["bleu"]) == (alone["en"].wer, pooled.bleu)
    assert details["wer_interval_95"] == list(alone["en"].interval)
    assert details["bleu_mean_of_directions"] == pytest.approx(
        (alone["en-es"].bleu + alone["en-fr"].bleu) / 2
    )


def test_several_directions_of_one_kind_have_one_number():
    found = result_of((EN, "a b", "a c"), (ES, "x y z w", "x y z w"))
    assert (found.metric, found.value) == ("wer", pytest.approx(100 / 6))
    assert found.interval == score(["a b", "x y z w"], ["a c", "x y z w"]).interval
    assert found.details()["wer_mean_of_directions"] == 25


def test_headline_is_a_table():
    lines = result_of(*CLIPS).headline()
    assert [line.split("  ")[0] for line in lines[:4]] == ["en", "en-es", "en-fr", "all translation"]
    assert len({line.index("WER" if "WER" in line else "BLEU") for line in lines[:4]}) == 1
    assert all(f"of {count} clips" in line for line, count in zip(lines, (2, 2, 2, 4), strict=False))
    assert any("nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp" in line for line in lines)
    assert max(map(len, lines)) <= 98
    # Of a single recognition direction, its own line says all.
    assert not any(line.startswith("all recognition") for line in lines)


def test_columns_are_blank_where_they_do_not_apply():
    columns = result_of(*CLIPS).columns()
    assert columns["direction"] == ["en-es", "en", "en-fr", "en-es", "en", "en-fr"]
    assert columns["errors"] == ["", 2, "", "", 0, ""]
    assert columns["words"] == ["", 5, "", "", 2, ""]
    assert columns["reference_tokens"] == [5, "", 5, 4, "", 0]
    blank = [value == "" for value in columns["sentence_bleu"]]
    assert blank == [value != "" for value in columns["errors"]]
    assert next(iter(columns)) == "direction"


def test_the_worst_of_each_direction_in_turn():
    found = result_of(*CLIPS)
    assert found.worst_first() == [1, 0, 5, 2]
    assert found.of_clip(1) == "en, errors 2, substitutions 1, insertions 1, words 5"
    assert found.of_clip(5).startswith("en-fr, sentence BLEU 0.0")


def test_notes_name_their_direction():
    (note,) = result_of(*CLIPS).notes
    assert note.startswith("en-fr: 1 empty reference(s)")


def test_all_references_empty():
    found = result_of((EN, "", "a"), (EN_ES, "", "a"))
    assert math.isinf(found.details()["wer"])
    assert found.details()["bleu"] == 0
    assert found.headline()


def test_wrong_lengths():
    with pytest.raises(ValueError, match="found 1 directions for 2 clips"):
        score_by_direction([EN], ["a", "b"], ["a", "b"])
    with pytest.raises(ValueError, match="one hypothesis for each reference"):
        score_by_direction([], [], [])
