"""From what a microphone and a camera give to chunks in which sound and mouth go together.

Letters: T frames of 25 per second, N samples of 16 kHz.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from datamodules.batch import SAMPLES_PER_VIDEO_FRAME
from llama_avsr.live.encoding import Speech
from llama_avsr.transcription.modality import Media


@dataclass(frozen=True)
class Taken:
    """What came in since the last time."""

    sound: np.ndarray
    """float32 [N]"""
    pictures: Sequence[Any]
    """At 25 per second, as the source has them."""
    ended: bool = False


class Source(Protocol):
    """A microphone, a camera, both, or a file that is played."""

    def take(self, now: float) -> Taken:
        """What came in up to `now`. Raises ValueError where the device is gone."""
        ...

    def close(self) -> None: ...


class MouthStream(Protocol):
    """Pictures in, mouths out, each as soon as it is known."""

    def push(self, pictures: Sequence[Any]) -> list[np.ndarray | None]:
        """The mouths, uint8 [H, W], of the next frames, None where there is none; some may be held back."""
        ...

    def end(self) -> list[np.ndarray | None]:
        """Those that are left."""
        ...


class CroppedStream:
    """Pictures that are mouths already."""

    def push(self, pictures: Sequence[np.ndarray]) -> list[np.ndarray | None]:
        return list(pictures)

    def end(self) -> list[np.ndarray | None]:
        return []


class Feed:
    """Joins the sound and the mouths of a source.

    wanted: what the model is given where all is there. may_drop: whether it can do without lips.
    mouths: None where no picture is wanted.
    """

    def __init__(self, wanted: Media, may_drop: bool, mouths: MouthStream | None) -> None:
        self._wanted, self._mouths = wanted, mouths
        rest = tuple(medium for medium in wanted if medium != "video")
        self._without = rest if may_drop else ()
        self._sound = np.zeros(0, np.float32)
        self._seen: list[np.ndarray | None] = []

    def chunks(self, taken: Taken) -> list[tuple[Speech, Media]]:
        """Whole frames of which all is known, in stretches with or without a mouth."""
        self._sound = np.concatenate([self._sound, taken.sound])
        if self._mouths is None:
            ready = len(self._sound) // SAMPLES_PER_VIDEO_FRAME
            return [(Speech(self._cut_sound(ready), None), self._wanted)] if ready else []
        self._seen += self._mouths.push(taken.pictures)
        if taken.ended:
            self._seen += self._mouths.end()
        ready = len(self._seen)
        if "audio" in self._wanted:
            ready = min(ready, len(self._sound) // SAMPLES_PER_VIDEO_FRAME)
        return self._stretches(ready)

    def _stretches(self, ready: int) -> list[tuple[Speech, Media]]:
        found: list[tuple[Speech, Media]] = []
        start = 0
        while start < ready:
            is_seen = self._seen[start] is not None
            stop = next((t for t in range(start, ready) if (self._seen[t] is not None) != is_seen), ready)
            mouths = np.stack(self._seen[start:stop]) if is_seen else None
            speech = Speech(self._cut_sound(stop - start), mouths)
            found.append((speech, self._wanted if is_seen else self._without))
            start = stop
        self._seen = self._seen[ready:]
        return found

    def _cut_sound(self, frames: int) -> np.ndarray:
        length = frames * SAMPLES_PER_VIDEO_FRAME
        cut, self._sound = self._sound[:length], self._sound[length:]
        # Lips alone: there may be less sound than pictures, or none.
        return np.pad(cut, (0, length - len(cut)))
