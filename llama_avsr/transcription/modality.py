"""What of a file a model is given: sound, lips, or both."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

Media = tuple[str, ...]
""" "audio", "video", or both, in this order."""
NO_PICTURE = "the file has no picture"
SILENT, EMPTY = "its sound track is silent", "its sound track is empty"
"""No lack of the file's, if nothing else is there: nothing is said in it."""
NAMES = {"audio": "sound", "video": "lips"}


class UnusableError(ValueError):
    """A file that a model can do nothing with: what it lacks, and what to do."""


@dataclass(frozen=True)
class Choice:
    """What is used, and why not everything."""

    media: Media
    reason: str
    """A sentence; empty where model, file and wish agree."""


def choose(
    model: Media,
    may_drop: bool,
    lacking: dict[str, str],
    asked: Collection[str] | None = None,
) -> Choice:
    """Decide what to give a model.

    model: the media it takes. may_drop: whether it was trained to do without one of them.
    lacking: medium -> why the file does not have it ("no face was found").
    asked: the media of `--modality`; None leaves the choice here.

    A silent recording leaves nothing to use, and no error: its transcript is empty.

    Raises UnusableError where nothing can be done, or not well.
    """
    wanted = model if asked is None else tuple(medium for medium in model if medium in asked)
    if asked is not None and len(wanted) < len(asked):
        raise UnusableError(
            f"--modality asks for {named(asked)}, the model takes {named(model)} only: leave it out"
        )
    media = tuple(medium for medium in wanted if medium not in lacking)
    missing = "; ".join(lacking[medium] for medium in wanted if medium in lacking)
    is_silent = "audio" in wanted and lacking.get("audio") in (SILENT, EMPTY)
    if is_silent and not media:
        return Choice((), f"nothing: {missing}")
    if is_silent and not may_drop:
        return Choice((), f"nothing: {missing}, and the model was never trained with lips alone")
    if not media:
        raise UnusableError(f"{missing}; {_remedy(model, wanted, lacking)}")
    if media == model:
        return Choice(media, "")
    if media == wanted:
        untrained = "" if may_drop else "; the model was never trained with that alone, expect errors"
        return Choice(media, f"{named(media)} alone, as asked for{untrained}")
    if asked is not None:
        raise UnusableError(f"{missing}, and --modality asks for both: leave it out to use {named(media)}")
    if not may_drop:
        raise UnusableError(
            f"{missing}, and the model was trained with both at all times (--modality-dropout 0); "
            f"--modality {media[0]} tries {named(media)} alone all the same"
        )
    return Choice(media, f"{named(media)} alone: {missing}")


def named(media: Collection[str]) -> str:
    """ "sound and lips"."""
    return " and ".join(NAMES[medium] for medium in NAMES if medium in media)


def _remedy(model: Media, wanted: Media, lacking: dict[str, str]) -> str:
    others = [medium for medium in model if medium not in wanted and medium not in lacking]
    if others:
        return f"--modality {others[0]} uses {named(others)}"
    if wanted == ("video",) and lacking["video"] == NO_PICTURE:
        return "this model reads lips only: give it a video, or use a model that hears"
    if wanted == ("video",):
        return (
            "this model reads lips only: use one that hears, another --detector, or --already-cropped if the "
            "video shows a mouth and nothing else"
        )
    if wanted == ("audio",):
        return "this model hears only: use one that reads lips, or put the sound beside the video as a .wav"
    cropped = lacking.get("video") not in (None, NO_PICTURE)
    hint = "; --already-cropped if the video shows a mouth and nothing else" if cropped else ""
    return f"the model needs sound or lips{hint}"
