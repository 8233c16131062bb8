"""Clips of some directions only."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from datamodules import formats
from datamodules.batch import Utterance
from datamodules.languages import Direction, show_direction


def of_directions(
    utterances: Sequence[Utterance], directions: Sequence[Direction], path: Path
) -> list[Utterance]:
    """The clips of a label file that go one of `directions`.

    A file whose format names no languages takes the only direction given: its text is in the written one.
    Raises ValueError where there are no such clips, or where several directions are given to such a file.
    """
    wanted = " ".join(map(show_direction, directions))
    if not formats.names_languages(path):
        if len(directions) > 1:
            raise ValueError(f"--lang {wanted}: {path} names no languages; give one direction for all of it")
        return [replace(utterance, languages=directions[0]) for utterance in utterances]
    kept = [utterance for utterance in utterances if utterance.languages in directions]
    if not kept:
        there = Counter(show_direction(utterance.languages) for utterance in utterances)
        found = ", ".join(f"{direction} ({count} clips)" for direction, count in there.items())
        raise ValueError(f"--lang {wanted}: {path} has no such clips; found {found}")
    return kept
