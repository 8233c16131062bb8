"""What the lips show of an English word: espeak-ng's phones, and the visemes of each."""

from __future__ import annotations

import functools
from itertools import groupby

from llama_avsr.demo.corpus.espeak import speak
from llama_avsr.demo.corpus.phones import from_espeak
from llama_avsr.demo.corpus.visemes import FAMILIES, PHONE_VISEMES

_FAMILY_OF = {viseme: family[0] for family in FAMILIES for viseme in family}
_REST = _FAMILY_OF["rest"]


@functools.cache
def lips_of(word: str, voice: str = "en") -> tuple[str, ...]:
    """Families of visemes in their order, each named by its first; one that follows itself counts once.

    Raises ModuleNotFoundError where espeakng-loader is missing.
    """
    phones = [from_espeak(mnemonic) for mnemonic, _ in speak(word, voice, pitch=50, rate=175).phonemes]
    shapes = [_FAMILY_OF[viseme] for phone in phones for viseme in PHONE_VISEMES[phone]]
    return tuple(shape for shape, _ in groupby(shapes) if shape != _REST)
