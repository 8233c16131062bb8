"""When a word is sure enough to be fixed. Pure functions of words.

Two passes over growing sound that write the same words agree on them (LocalAgreement-2: Liu et al., 2020;
Machacek et al., 2023). A model that was trained on whole sentences finishes a half one as it sees fit, and
may do so twice alike: such words are improbable to itself, so that each must be probable as well.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Guess:
    """A word that one pass writes."""

    text: str
    probability: float
    """Of the least probable of its tokens, from 0 to 1."""


@dataclass(frozen=True)
class Policy:
    """How sure is sure enough."""

    agreement: int
    """Passes that must have written a word, and all before it, alike."""
    min_probability: float
    """Of every word that is fixed."""
    hold_back: int = 0
    """Last words of a pass that are never fixed before the speech ends."""


def sure(policy: Policy, passes: Sequence[Sequence[Guess]], fixed: int) -> int:
    """How many words of the last pass are fixed from now on, at least those that are already.

    passes: what the last passes wrote, oldest first; each begins with the `fixed` words.

    >>> two = [[Guess("bin", 0.9), Guess("blue", 0.9)], [Guess("bin", 0.9), Guess("red", 0.9)]]
    >>> sure(Policy(2, 0.7), two, fixed=0)
    1
    """
    if len(passes) < policy.agreement:
        return fixed
    current, *others = reversed(passes[-policy.agreement :])
    count = fixed
    for index in range(fixed, len(current) - policy.hold_back):
        word = current[index]
        if word.probability < policy.min_probability or any(_other(o, index) != word.text for o in others):
            break
        count = index + 1
    return count


def shown(policy: Policy, guesses: Sequence[Guess], fixed: int) -> int:
    """How many words of a pass are worth showing: up to the first that the model invents."""
    for index, guess in enumerate(guesses[fixed:], start=fixed):
        if guess.probability < policy.min_probability / 2:
            return index
    return len(guesses)


def _other(guesses: Sequence[Guess], index: int) -> str | None:
    return guesses[index].text if index < len(guesses) else None
