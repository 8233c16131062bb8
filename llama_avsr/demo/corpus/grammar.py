"""The sentences of the demo: the GRID grammar, six words each, 51 words in all."""

from __future__ import annotations

import functools
import itertools
import random
import string
from collections.abc import Collection

SLOTS: tuple[tuple[str, ...], ...] = (
    ("bin", "lay", "place", "set"),
    ("blue", "green", "red", "white"),
    ("at", "by", "in", "with"),
    tuple(letter for letter in string.ascii_lowercase if letter != "w"),
    ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"),
    ("again", "now", "please", "soon"),
)
"""What may stand in each place: command, colour, preposition, letter, digit, adverb."""

WORDS: list[str] = [word for slot in SLOTS for word in slot]
"""The whole vocabulary, in the order of the slots."""

NUM_SENTENCES = 4 * 4 * 4 * 25 * 10 * 4
NUM_HELD_OUT = NUM_SENTENCES // 10


def sentences(num: int, seed: int, exclude: Collection[str] = ()) -> list[str]:
    """Draw `num` distinct sentences, none of them in `exclude`; a function of its arguments alone.

    A longer draw with the same seed and exclusions begins with the shorter one.
    Raises ValueError where the grammar has fewer than `num` sentences left.
    """
    excluded = frozenset(exclude)
    every = (" ".join(words) for words in itertools.product(*SLOTS))
    free = [sentence for sentence in every if sentence not in excluded]
    if num > len(free):
        raise ValueError(
            f"{num} sentences asked for, but only {len(free)} of the grammar's {NUM_SENTENCES} are left; "
            "ask for fewer"
        )
    random.Random(seed).shuffle(free)
    return free[:num]


@functools.cache
def held_out() -> frozenset[str]:
    """The tenth of the grammar that validation and test sentences of every demo corpus come from.

    Nothing is ever trained on them: neither the demo's runs nor the pretraining of its weights.
    """
    return frozenset(sentences(NUM_HELD_OUT, seed=0))
