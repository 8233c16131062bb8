"""Where mouth clips come from: cut out of faces, or there already.

The one place of the data sets that knows how faces are found.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

import numpy as np

from datamodules.batch import VIDEO_FPS
from datamodules.media import MediaError, load_audio, load_video
from preparation.faces.detectors import DetectorOptions
from preparation.faces.options import CropOptions, NoMouthError


class MouthTrack(Protocol):
    """A stretch of video in which one mouth is seen without a break, at 25 fps."""

    frames: np.ndarray
    """uint8 [T, H, W], grey, full range."""
    start_s: float
    end_s: float


class MouthReader(Protocol):
    """Used for one video after the other, in a process of its own."""

    def tracks(self, video: Path, rel_path: Path, whole: bool) -> Sequence[MouthTrack]:
        """In order of time, one at least.

        rel_path: the video's path below its data set's folder. whole: one track, whatever happens in it.

        Raises MediaError where the video cannot be read, NoMouthError where no mouth is found.
        """
        ...

    def sound(self, video: Path) -> np.ndarray:
        """float32 [N] at 16 kHz; sample 0 belongs to the first video frame.

        Raises MediaError, also where there is no sound.
        """
        ...


@dataclass(frozen=True)
class MouthSettings:
    """What is done to a picture before it is a mouth clip.

    already_cropped: the videos show nothing but mouths (or whatever is to be learnt from): they are resampled
    to 25 fps, made grey and cut in time, nothing else; `detector` and `crop` then do not count.
    """

    already_cropped: bool = False
    detector: DetectorOptions = field(default_factory=DetectorOptions)
    crop: CropOptions = field(default_factory=CropOptions)

    def key(self) -> str:
        """Changes when clips do."""
        return "already cropped" if self.already_cropped else repr((self.detector, self.crop))


def open_reader(settings: MouthSettings) -> MouthReader:
    """Made once in each process: a face detector takes long to load.

    Raises ValueError for a detector that is not there, or lacks something.
    """
    return AlreadyCropped() if settings.already_cropped else FaceReader(settings.detector, settings.crop)


@dataclass(frozen=True)
class WholeVideo:
    """The MouthTrack of a video that shows a mouth from beginning to end."""

    frames: np.ndarray
    start_s: float
    end_s: float


class AlreadyCropped:
    """Reads videos that show nothing but mouths."""

    def tracks(self, video: Path, rel_path: Path, whole: bool) -> Sequence[MouthTrack]:
        frames = load_video(video).numpy()
        return [WholeVideo(frames, 0.0, len(frames) / VIDEO_FPS)]

    def sound(self, video: Path) -> np.ndarray:
        return load_audio(video).numpy()


class FaceReader:
    """Finds faces, and cuts out their mouths."""

    def __init__(self, detector: DetectorOptions, options: CropOptions) -> None:
        # Only who looks for faces needs the libraries that do.
        try:
            from preparation.faces import crop, detectors

            self._detector = detectors.build(detector)
        except ImportError as error:
            raise ValueError(
                f"cutting mouths out of faces is not available here: {error}; --already-cropped takes videos "
                "that show mouths alone"
            ) from None
        self._cut_mouths = crop.cut_mouths
        self._options = options

    def tracks(self, video: Path, rel_path: Path, whole: bool) -> Sequence[MouthTrack]:
        try:
            found = self._cut_mouths(video, self._detector, replace(self._options, whole=whole), rel_path)
        except MediaError:
            raise
        except ValueError as error:  # its landmarks
            raise NoMouthError(str(error)) from error
        if not found.tracks:
            raise NoMouthError(f"{video}: {'; '.join(found.rejected)}")
        return found.tracks

    def sound(self, video: Path) -> np.ndarray:
        from preparation.faces.sound import read_sound

        waveform = read_sound(video)
        if waveform is None:
            raise MediaError(f"{video}: expected sound, found no sound track; --no-sound is for lips alone")
        return waveform
