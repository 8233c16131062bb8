"""Where mouth clips come from: cut out of faces, or there already. The one place that knows how faces are "
"found."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from datamodules.batch import VIDEO_FPS
from datamodules.media import load_audio, load_video


class MouthTrack(Protocol):
    """A stretch of video in which one mouth is seen without a break, at 25 fps."""

    frames: np.ndarray
    """uint8 [T, H, W], grey, full range."""
    start_s: float
    end_s: float


class MouthReader(Protocol):
    """Called once a video, in a process of its own."""

    def tracks(self, video: Path) -> list[MouthTrack]:
        """In order of time; empty where no mouth is found. Raises MediaError (a ValueError)."""
        ...

    def sound(self, path: Path) -> np.ndarray:
        """float32 [N] at 16 kHz; sample 0 belongs to the first video frame.

        `path` is the video, or where sound is a file of its own (VoxCeleb2) that file, without any video.

        Raises MediaError, also where there is no sound.
        """
        ...


@dataclass(frozen=True)
class MouthSettings:
    """What is done to a picture before it is a mouth clip.

    already_cropped: the videos show nothing but mouths (or whatever is to be learnt from): they are resampled
    to 25 fps, made grey and cut in time, nothing else.
    """

    already_cropped: bool = False


def open_reader(settings: MouthSettings) -> MouthReader:
    """Made once in each process. Raises ValueError as `check_available` does."""
    check_available(settings)
    if settings.already_cropped:
        return AlreadyCropped()
    # Wiring point: the reader that finds faces, with its detector and speaker options in MouthSettings.
    from preparation.faces.crop import FaceReader

    return FaceReader(settings)


def check_available(settings: MouthSettings) -> None:
    """Raises ValueError where faces are to be found, but what finds them is not installed."""
    if settings.already_cropped:
        return
    try:
        import preparation.faces.crop  # noqa: F401
    except ImportError as error:
        raise ValueError(
            f"cutting mouths out of faces is not available here ({error}); "
            "--already-cropped takes videos that show mouths alone"
        ) from None


@dataclass(frozen=True)
class WholeVideo:
    """The MouthTrack of a video that shows a mouth from beginning to end."""

    frames: np.ndarray
    start_s: float
    end_s: float


class AlreadyCropped:
    """Reads videos that show nothing but mouths."""

    def tracks(self, video: Path) -> list[MouthTrack]:
        frames = load_video(video).numpy()
        return [WholeVideo(frames, 0.0, len(frames) / VIDEO_FPS)]

    def sound(self, path: Path) -> np.ndarray:
        return load_audio(path).numpy()
