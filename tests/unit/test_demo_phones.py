"""Phone labels."""

import pytest

from llama_avsr.demo.corpus.phones import _FROM_ESPEAK, PHONES, SILENCE, UNKNOWN, from_espeak


def test_the_inventory():
    assert len(PHONES) == len(set(PHONES)) == 43
    assert PHONES[0] == SILENCE
    assert set(_FROM_ESPEAK.values()) | {SILENCE} == set(PHONES), (
        "a label that espeak never makes, or no label"
    )


@pytest.mark.parametrize(
    ("mnemonic", "label"),
    [
        ("'aI2", "ay"),
        (",u:", "uw"),
        ("dZ", "jh"),
        ("_", SILENCE),
        ("_:", SILENCE),
        ("", SILENCE),
        ("@L", "l"),
    ],
)
def test_stress_is_dropped_and_pauses_are_silence(mnemonic, label):
    assert from_espeak(mnemonic) == label


def test_unknown_mnemonics_get_the_longest_known_beginning_or_a_neutral_vowel():
    assert from_espeak("k2") == "k"
    assert from_espeak("'eI9") == "ey"
    assert from_espeak("Q^") == UNKNOWN
