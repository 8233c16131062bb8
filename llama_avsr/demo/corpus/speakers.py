"""The demo's speakers: an espeak-ng voice, and a seed for a face.

Voices are accent x variant. A variant (espeak's word for a speaker's vocal tract and larynx) belongs to
one group only: trained on, unseen, or babbling in the background.
"""

from __future__ import annotations

import random
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

ACCENTS: tuple[str, ...] = ("en", "en-us", "en-gb-scotland", "en-gb-x-gbclan")

TRAINING_VARIANTS: tuple[str, ...] = (
    *("f1", "f2", "f3", "f5", "Annie", "Mario", "steph", "linda", "grandma", "Alicia"),
    *("m1", "m3", "m4", "m6", "m7", "max", "Alex", "Denis", "Gene", "adam"),
)
UNSEEN_VARIANTS: tuple[str, ...] = ("f4", "Michael", "aunty", "m8", "shelby", "Mike", "belinda", "benjamin")
BABBLE_VARIANTS: tuple[str, ...] = ("ed", "steph3", "robert", "anika", "Diogo", "antonio")

PITCH_SPREAD = 20
"""Largest distance from espeak's middle pitch of 50, on its scale of 0 to 99."""
RATES_WPM: tuple[int, int] = (140, 175)


@dataclass(frozen=True, kw_only=True)
class Speaker:
    """Who speaks: all that synthesis and drawing need to know."""

    name: str
    """Unique, and fit for a folder's name."""
    accent: str
    """Espeak-ng's language, e.g. "en-us"."""
    variant: str
    """Espeak-ng's voice variant, e.g. "f2"."""
    pitch: int = 50
    """0 to 99, 50 in the middle of the variant's range."""
    rate: int = 165
    """Words a minute."""
    face_seed: int = 0
    """Everything about the face (skin, scale, shift, light, ...) is drawn from it."""


def _speaker(accent: str, variant: str) -> Speaker:
    name = f"{accent}_{variant.lower()}"
    # hash() differs between processes; a checksum does not.
    face_seed = zlib.crc32(name.encode())
    draw = random.Random(face_seed)
    return Speaker(
        name=name,
        accent=accent,
        variant=variant,
        pitch=draw.randint(50 - PITCH_SPREAD, 50 + PITCH_SPREAD),
        rate=draw.randint(*RATES_WPM),
        face_seed=face_seed,
    )


def _group(variants: Sequence[str], num: int) -> list[Speaker]:
    """`num` speakers; every time round the variants, the accents move on by one."""
    rounds = (divmod(index, len(variants)) for index in range(num))
    return [_speaker(ACCENTS[(which + turn) % len(ACCENTS)], variants[which]) for turn, which in rounds]


def training_speakers() -> list[Speaker]:
    """The 40 voices of the training, validation and "seen" test sets: 20 variants, two accents each."""
    return _group(TRAINING_VARIANTS, 40)


def unseen_speakers() -> list[Speaker]:
    """The 8 voices of the "unseen" test set; they speak nowhere else."""
    return _group(UNSEEN_VARIANTS, 8)


def babble_speakers() -> list[Speaker]:
    """The 6 voices of the background noise; they speak nowhere else."""
    return _group(BABBLE_VARIANTS, 6)


def pretraining_speakers() -> list[Speaker]:
    """The voices that the demo's encoders are pretrained on: the training set's."""
    return training_speakers()
