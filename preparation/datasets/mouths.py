"""Where mouth clips of data sets come from: cut out of faces, or there already."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from datamodules.media import MediaError, load_audio
from datamodules.media.sound import read_sound
from preparation.faces.detectors import DetectorOptions
from preparation.faces.options import CropOptions, NoMouthError
from preparation.faces.readers import CroppedReader, FaceReader, Task, Track


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


class Source:
    """Mouths and sound of one video after the other, in a process of its own.

    Raises ValueError for a detector that is not there, or lacks something.
    """

    def __init__(self, settings: MouthSettings) -> None:
        self._cropped = settings.already_cropped
        try:
            self._reader = CroppedReader() if self._cropped else FaceReader(settings.detector, settings.crop)
        except ImportError as error:
            raise ValueError(
                f"cutting mouths out of faces is not available here: {error}; --already-cropped takes videos "
                "that show mouths alone"
            ) from None

    def tracks(self, video: Path, rel_path: Path, whole: bool) -> Sequence[Track]:
        """In order of time, one at least.

        rel_path: the video's path below its data set's folder. whole: one track, whatever happens in it.

        Raises MediaError where the video cannot be read, NoMouthError where no mouth is found.
        """
        try:
            found = self._reader.read(Task(video, rel_path, whole))
        except MediaError:
            raise
        except ValueError as error:  # its landmarks
            raise NoMouthError(str(error)) from error
        if not found.tracks:
            raise NoMouthError(f"{video}: {'; '.join(found.rejected)}")
        return found.tracks

    def sound(self, video: Path) -> np.ndarray:
        """float32 [N] at 16 kHz; sample 0 belongs to the first video frame.

        Raises MediaError, also where there is no sound.
        """
        if self._cropped:
            return load_audio(video).numpy()
        waveform = read_sound(video)
        if waveform is None:
            raise MediaError(f"{video}: expected sound, found no sound track; --no-sound is for lips alone")
        return waveform
