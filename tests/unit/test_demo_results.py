"""Errors by class of word, as the report of real speech shows them."""

from __future__ import annotations

from llama_avsr.demo.results import class_table, errors_by_class
from preparation.datasets.grid import CLASSES

PAIRS = [
    ("bin blue at f two now", "bin blue at s two now"),
    ("lay red in f nine soon", "lay red in s nine"),
    ("set white by x one again", "set white by x one again please"),
]


def test_words_are_counted_by_their_place() -> None:
    errors = errors_by_class(PAIRS, CLASSES)
    assert {name: (found.words, found.wrong) for name, found in errors.items()} == {
        "command": (3, 0),
        "colour": (3, 0),
        "preposition": (3, 0),
        "letter": (3, 2),
        "digit": (3, 0),
        "adverb": (3, 1),
    }
    assert errors["letter"].confusions == {("f", "s"): 2}
    assert errors["adverb"].confusions == {("soon", ""): 1}


def test_the_table() -> None:
    lines = class_table(errors_by_class(PAIRS, CLASSES)).splitlines()
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines]
    assert cells[0] == ["class", "most often (said: written)", "words", "wrong"]
    assert cells[5] == ["letter", "f: s 2x", "3", "66.7 %"]
    assert cells[7] == ["adverb", "soon: - 1x", "3", "33.3 %"]


def test_sentences_of_another_length_do_not_count() -> None:
    errors = errors_by_class([("and so my fellow", "and so my fellow")], CLASSES)
    assert sum(found.words for found in errors.values()) == 0
