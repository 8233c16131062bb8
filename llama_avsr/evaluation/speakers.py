"""Who speaks in a clip, as far as its id says so."""

from __future__ import annotations

import re
from collections.abc import Sequence

MIN_SPEAKERS = 6
"""So many units that all favour one side have a chance of 2 ** (1 - 6) = 3 % to do so by luck: with fewer, no
95 % interval over speakers can be given."""


def speakers_of(ids: Sequence[str], pattern: str | None = None) -> list[str] | None:
    """The speaker of each clip; None where the ids do not tell.

    By default the folder that the id names, as in LRS3, GRID and VoxCeleb: `lrs3/.../0Fi83BHQsMA/00002`.

    pattern: a regular expression that each id holds; its first group, or all of it, is the speaker.
    Raises ValueError for a pattern that is none, or that some id does not hold.
    """
    if pattern is None:
        found = [one.rpartition("/")[0] for one in ids]
        return found if len(set(found)) > 1 else None
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise ValueError(f"--speaker-pattern {pattern!r}: no regular expression: {error}") from None
    matches = [compiled.search(one) for one in ids]
    for one, match in zip(ids, matches, strict=True):
        if match is None:
            raise ValueError(f"--speaker-pattern {pattern!r}: not found in the id {one!r}")
    return [match[1] if compiled.groups else match[0] for match in matches]


def note_on_few(speakers: Sequence[str] | None) -> list[str]:
    """Says why there is no interval over speakers, where there are some but not enough."""
    count = len(set(speakers or ()))
    if not 1 < count < MIN_SPEAKERS:
        return []
    return [
        f"{count} speakers, too few for an interval over speakers (at least {MIN_SPEAKERS}): whether it "
        "holds for other voices is not known"
    ]


def groups_of(speakers: Sequence[str] | None) -> list[list[int]] | None:
    """The places of each speaker's clips; None where there are too few speakers to judge by them, or none has
    two clips, and judging by speaker is judging by clip."""
    if speakers is None:
        return None
    groups: dict[str, list[int]] = {}
    for place, speaker in enumerate(speakers):
        groups.setdefault(speaker, []).append(place)
    enough = MIN_SPEAKERS <= len(groups) < len(speakers)
    return list(groups.values()) if enough else None
