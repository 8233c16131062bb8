"""Options of how hypotheses are scored, whoever made them."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from llama_avsr.options.fields import TESTING, group

Normalise = Literal["none", "lower", "whisper-english"]


SCORING = ("score", "compare", "report")


@group(programs=(*TESTING, *SCORING))
class ScoringOptions:
    """Scoring"""

    normalise: Normalise = "none"
    """What is done to references and hypotheses before they are compared. lower: lower case.
    whisper-english: Whisper's normaliser (transformers): also no punctuation, contractions spelt out, numbers
    as digits. It is printed beside the score."""
    speaker_pattern: str | None = None
    """Regular expression that finds the speaker in a clip's id, its first group or all of it. Default: the
    folder in the id, as in s1/bbaf2n."""


@group(programs=("score", "compare"))
class ReferenceOptions:
    """References"""

    references: Path | None = None
    """File of the references, in any format that hypotheses may have, where those come without. Clips are
    matched by their ids."""
