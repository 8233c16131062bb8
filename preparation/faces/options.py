"""Whose mouth is cut out, and what makes one clip. Light to import: no picture library."""

from __future__ import annotations

from dataclasses import dataclass

DEFAULT_DETECTOR = "blazeface"
"""One of `preparation.faces.detectors`."""
Speaker = str | int
"""One of SPEAKERS, ALL, or the number of a face from left to right, 1 first."""
SPEAKERS = ("largest", "talking")
ALL = "all"
"""Every face: tracks may then share frames."""


class MissingExtraError(ValueError, ImportError):
    """An extra of the package that is not installed: which, and how to get it."""


class NoMouthError(ValueError):
    """A video without a mouth that can be cropped: why."""


@dataclass(frozen=True)
class CropOptions:
    """Whose mouth, and what makes one clip."""

    speaker: Speaker = "largest"
    """largest, talking, all, or a face's number from left to right, 1 first."""
    whole: bool = False
    """One clip a video, as auto-avsr makes it: no scene cuts, gaps of any length filled."""
    max_gap_seconds: float = 2.0
    """A face that is lost for longer ends a clip; shorter gaps are interpolated."""
    detect_every: int = 6
    """Frames from one that a detector is shown to the next; faces are followed between, where both agree."""

    def __post_init__(self) -> None:
        known = isinstance(self.speaker, int) or self.speaker in (*SPEAKERS, ALL)
        if not known or (isinstance(self.speaker, int) and self.speaker < 1):
            raise ValueError(
                f"found speaker {self.speaker!r}, expected {', '.join((*SPEAKERS, ALL))}, or the number of a "
                "face from left to right, 1 first"
            )
        if not self.max_gap_seconds >= 0:
            raise ValueError(f"found max_gap_seconds {self.max_gap_seconds}, expected 0 or more")
        if self.detect_every < 1:
            raise ValueError(f"found detect_every {self.detect_every}, expected 1 or more")
