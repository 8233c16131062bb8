"""The demo's second language: Spanish, word by word."""

from __future__ import annotations

from llama_avsr.demo.corpus.grammar import SLOTS

_SPANISH_SLOTS: tuple[tuple[str, ...], ...] = (
    ("tira", "tiende", "coloca", "pon"),
    ("azul", "verde", "rojo", "blanco"),
    ("ante", "por", "en", "con"),
    SLOTS[3],
    ("cero", "uno", "dos", "tres", "cuatro", "cinco", "seis", "siete", "ocho", "nueve"),
    ("nuevamente", "ahora", "porfa", "pronto"),
)
"""In the order of `grammar.SLOTS`; letters stay letters."""

SPANISH: dict[str, str] = {
    english: spanish
    for words, translations in zip(SLOTS, _SPANISH_SLOTS, strict=True)
    for english, spanish in zip(words, translations, strict=True)
}
"""Of each of the grammar's words; no two have the same."""


def translate(sentence: str) -> str:
    """The Spanish of a sentence of the grammar. Raises ValueError for a word that the grammar lacks."""
    words = sentence.split()
    if unknown := [word for word in words if word not in SPANISH]:
        raise ValueError(f"found {unknown[0]!r} in {sentence!r}; expected words of the demo's grammar")
    return " ".join(SPANISH[word] for word in words)
