"""What is done to references and hypotheses before they are compared; named beside every score."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from datamodules.languages import Direction
from llama_avsr.options.scoring import Normalise


@dataclass(frozen=True)
class Normalisation:
    """A way to normalise text."""

    said: str
    """Its name as it is printed beside a score, with what a reader must know to repeat it."""
    apply: Callable[[str], str]


NONE = Normalisation("none", str)


def normalisation(name: Normalise, directions: Iterable[Direction] = ()) -> Normalisation:
    """`none`: nothing. `lower`: lower case. `whisper-english`: transformers' own, of Whisper's evaluation:
    lower case, no punctuation, contractions spelt out, numbers as digits.

    The table of British and American spellings belongs to Whisper's weights, not to transformers: spellings
    are left as they are, and `said` says so.

    directions: those of the texts, where they are known. Raises ValueError where Whisper's does not read one.
    """
    if name == "none":
        return NONE
    if name == "lower":
        return Normalisation("lower", str.lower)
    if others := sorted({written for _, written in directions if written != "en"}):
        raise ValueError(f"--normalise {name} is for English, found {', '.join(others)}; use lower or none")
    from transformers.models.whisper.english_normalizer import EnglishTextNormalizer  # heavy

    version = importlib.metadata.version("transformers")
    return Normalisation(
        f"whisper-english (transformers {version}, spellings kept)", EnglishTextNormalizer({})
    )
