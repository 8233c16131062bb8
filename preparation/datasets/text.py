"""What becomes of a text before it is a transcript.

`lrs` is for LRS2 and LRS3, whose texts are transcripts already; `spoken` and `subtitle` for what people
write; `verbatim` keeps it as it is. All of them give one line with single spaces; case is left to the label
file.
"""

from __future__ import annotations

import re
import unicodedata

NOISE_CODES = ("LG", "NS", "BR", "CG", "LS")
"""Laughter, noise, breath, cough, lip smack, written {LG}: no words."""

_NOISE = re.compile(r"\{\s*(?:" + "|".join(NOISE_CODES) + r")\s*\}", re.IGNORECASE)
_BRACES = re.compile(r"[{}]")
_APOSTROPHES = str.maketrans({"\u2019": "'", "\u2018": "'", "\u02bc": "'", "`": "'", "\u00b4": "'"})
_ANNOTATION = re.compile(r"\[[^\]]*\]|\([^)]*\)|[♪♫]+")
_THOUSANDS = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")
_DECIMAL = re.compile(r"(?<=\d)\.(?=\d)")
_QUOTED_WORD = re.compile(r"(?<!\S)'(\S+)'(?!\S)")
_LONE_APOSTROPHE = re.compile(r"(?<!\w)'(?!\w)")
_POINT = "\ue000"
"""Stands for a decimal point while punctuation is taken out (a code point of nobody's)."""


def verbatim(text: str) -> str:
    """One line, single spaces; else as it is."""
    return " ".join(text.replace("\ufeff", "").split())


def lrs(text: str) -> str:
    """Without noise codes ({LG}); other words lose their braces alone. Upper-case."""
    return verbatim(_BRACES.sub("", _NOISE.sub(" ", text))).upper()


def spoken(text: str) -> str:
    """Words alone, upper-case, as LRS2 and LRS3 write them.

    Letters of any alphabet, digits and apostrophes stay. Other characters become spaces, hyphens too; a
    decimal point stays, a thousands comma goes. Numbers are not spelled out.
    """
    text = unicodedata.normalize("NFKC", text).translate(_APOSTROPHES)
    text = _DECIMAL.sub(_POINT, _THOUSANDS.sub("", _BRACES.sub("", _NOISE.sub(" ", text))))
    kept = "".join(character if _is_word_character(character) else " " for character in text)
    kept = _QUOTED_WORD.sub(r"\1", _LONE_APOSTROPHE.sub(" ", kept))
    return verbatim(kept.replace(_POINT, ".")).upper()


def subtitle(text: str) -> str:
    """`spoken`, without [annotations], (annotations) and music notes."""
    return spoken(_ANNOTATION.sub(" ", text))


def _is_word_character(character: str) -> bool:
    return character in ("'", _POINT) or unicodedata.category(character)[0] in "LMN"
