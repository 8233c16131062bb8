"""A file, played at its own speed as if it were being recorded."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from datamodules.batch import SAMPLE_RATE_HZ, VIDEO_FPS
from datamodules.media.pictures import mouth_frames
from llama_avsr.live.feed import Taken
from llama_avsr.transcription.reading import contents, read_sound


class FilePlayer:
    """Gives of a file what has been played so far.

    picture: whether its picture is wanted. Raises MediaError where it cannot be read.
    """

    def __init__(
        self, path: Path, picture: bool, already_cropped: bool, audio_track: int | None = None
    ) -> None:
        found = contents(path)
        sound, self.why_silent = read_sound(path, found, already_cropped, [], audio_track)
        self.has_sound, self.has_picture = sound is not None, found.picture
        self._sound = np.zeros(0, np.float32) if sound is None else sound
        self._pictures: Iterator[Any] | None = None
        if picture and found.picture:
            self._pictures = _pictures(path, already_cropped)
        self._samples, self._shown = 0, 0

    def take(self, now: float) -> Taken:
        sound = self._sound[self._samples : round(now * SAMPLE_RATE_HZ)]
        self._samples += len(sound)
        wanted = max(0, int(now * VIDEO_FPS) - self._shown)
        pictures = [] if self._pictures is None else list(islice(self._pictures, wanted))
        self._shown += len(pictures)
        is_over = self._pictures is None or len(pictures) < wanted
        return Taken(sound, pictures, is_over and self._samples == len(self._sound))

    def close(self) -> None:
        if self._pictures is not None:
            self._pictures.close()


def _pictures(path: Path, already_cropped: bool) -> Iterator[Any]:
    if already_cropped:
        return mouth_frames(path, strict=False, notes=[])
    from preparation.faces import video  # OpenCV comes with an extra

    return video.views(path, [])
