"""The phones of the demo, and how espeak-ng's mnemonics map onto them.

The labels are ARPAbet in lower case, with silence and three British vowels beside it. Accents differ in their
sounds, not in their label set: near allophones share a label, so that the classes stay few and well filled.
"""

from __future__ import annotations

from dataclasses import dataclass

SILENCE = "sil"

CONSONANTS: tuple[str, ...] = (
    *("p", "b", "t", "d", "k", "g", "f", "v", "th", "dh", "s", "z"),
    *("sh", "zh", "ch", "jh", "hh", "m", "n", "ng", "l", "r", "w", "y"),
)
VOWELS: tuple[str, ...] = (
    *("iy", "ih", "eh", "ey", "ae", "aa", "oh", "ao", "ow"),
    *("uh", "uw", "ah", "ax", "er", "ay", "aw", "oy", "ia"),
)
PHONES: list[str] = [SILENCE, *CONSONANTS, *VOWELS]
"""The 43 classes; a label's position is its class index, silence is 0."""

UNKNOWN = "ax"
"""What a mnemonic outside the table becomes: the vowel of a mouth at rest."""

_STRESS_MARKS = "'`,%=|"

# Espeak's English phoneme tables, less the stress marks.
_FROM_ESPEAK: dict[str, str] = {
    **{same: same for same in ("p", "b", "t", "d", "k", "g", "f", "v", "s", "z", "m", "n", "l", "r", "w")},
    **{"T": "th", "D": "dh", "S": "sh", "Z": "zh", "tS": "ch", "dZ": "jh", "h": "hh", "N": "ng", "j": "y"},
    # A flap, an unreleased and a dental t, a glottal stop; a palatal glide between vowels; a voiceless w.
    **{"t#": "t", "t2": "t", "t[": "t", "?": "t", ";": "y", "w#": "w", "n-": "n", "r-": "r"},
    **{"i:": "iy", "i": "iy", "I": "ih", "I2": "ih", "I#": "ih", "i@": "ia", "i@3": "ia"},
    **{"E": "eh", "e@": "eh", "eI": "ey", "a": "ae", "aa": "ae", "A:": "aa", "A@": "aa", "0": "oh"},
    **{"O:": "ao", "O@": "ao", "o@": "ao", "O": "ao", "O2": "ao", "oU": "ow", "OI": "oy"},
    **{"U": "uh", "U@": "uh", "u:": "uw", "u": "uw", "V": "ah"},
    **{"@": "ax", "@2": "ax", "@5": "ax", "@-": "ax", "a#": "ax", "@L": "l"},
    **{"3": "ax", "3:": "er", "VR": "er", "IR": "er"},
    **{"aI": "ay", "aI2": "ay", "aI3": "ay", "aI@": "ay", "aU": "aw"},
}


@dataclass(frozen=True)
class Phone:
    """One phone of a spoken sentence; times in seconds from the start of its waveform."""

    label: str
    """One of PHONES."""
    start_s: float
    end_s: float


def from_espeak(mnemonic: str) -> str:
    """The label of PHONES for one of espeak-ng's phoneme mnemonics, e.g. "'aI2" -> "ay".

    Stress is dropped. Pauses ("_", "_:") are silence. A mnemonic outside the table gets the label of its
    longest known beginning (so an allophone "k2" is "k"), and UNKNOWN where there is none.
    """
    bare = mnemonic.lstrip(_STRESS_MARKS)
    if not bare or bare.startswith("_"):
        return SILENCE
    for length in range(len(bare), 0, -1):
        if label := _FROM_ESPEAK.get(bare[:length]):
            return label
    return UNKNOWN
