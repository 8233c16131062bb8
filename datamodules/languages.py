"""Languages, and directions from the spoken to the written one: `en` transcribes, `en-es` translates."""

from __future__ import annotations

LANGUAGES = {"en": "English", "es": "Spanish", "fr": "French", "it": "Italian", "pt": "Portuguese"}
"""ISO 639-1 codes and the names that instructions use."""

Direction = tuple[str, str]


def parse_direction(text: str) -> Direction:
    """("en", "es") of "en-es"; "en" is ("en", "en"). Raises ValueError for languages that are not known."""
    spoken, _, written = text.lower().partition("-")
    written = written or spoken
    unknown = [code for code in (spoken, written) if code not in LANGUAGES]
    if unknown:
        raise ValueError(
            f"expected a language or a pair of them (en, en-es) out of {', '.join(LANGUAGES)}, found {text!r}"
        )
    return spoken, written


def show_direction(direction: Direction) -> str:
    """ "en-es", or "en" where spoken and written language are one."""
    spoken, written = direction
    return spoken if spoken == written else f"{spoken}-{written}"
