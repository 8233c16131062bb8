"""How words are spelled for the aligner: characters of the training transcripts, and one for all others."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

SILENCE = 0
"""Class of what lies between words; characters follow from 1."""
MAX_CHARACTERS = 2000


@dataclass(frozen=True)
class Spelling:
    """Words as classes of a head.

    >>> spelling = Spelling.of_texts(["It's a cat", "é!"])
    >>> spelling.characters
    "'acisté"
    >>> spelling.spell("Cats"), spelling.spell("dog") == [spelling.other] * 3, spelling.spell("--")
    ([3, 2, 6, 5], True, [8])
    """

    characters: str

    @classmethod
    def of_texts(cls, texts: Iterable[str]) -> Spelling:
        """Raises ValueError where nothing can be spelled, or too much."""
        found = {char for text in texts for char in plain(text)}
        if not 0 < len(found) <= MAX_CHARACTERS:
            raise ValueError(
                f"found {len(found)} characters in the training transcripts, expected 1 to {MAX_CHARACTERS}"
            )
        return cls("".join(sorted(found)))

    @property
    def num_classes(self) -> int:
        """Of a head: the characters and silence."""
        return len(self.characters) + 1

    @property
    def other(self) -> int:
        """What stands for a character that was never trained: any of them. No class of the head."""
        return self.num_classes

    @cached_property
    def _class_of(self) -> dict[str, int]:
        return {char: index for index, char in enumerate(self.characters, start=1)}

    def spell(self, word: str) -> list[int]:
        """The classes of a word; never empty."""
        return [self._class_of.get(char, self.other) for char in plain(word)] or [self.other]


def plain(word: str) -> str:
    """Its letters, digits and apostrophes, in lower case.

    >>> plain("Don\N{RIGHT SINGLE QUOTATION MARK}t!")
    "don't"
    """
    folded = unicodedata.normalize("NFKC", word).casefold().replace("\N{RIGHT SINGLE QUOTATION MARK}", "'")
    return "".join(char for char in folded if char.isalnum() or char == "'")
