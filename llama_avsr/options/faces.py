"""Options of the programs that find faces: transcribe.py, and commands of prepare_data.py."""

from __future__ import annotations

from typing import Annotated, Literal

from llama_avsr.options.fields import FACES, group
from llama_avsr.options.values import PositiveInt, Registered
from preparation.faces.options import DEFAULT_DETECTOR, CropOptions


@group(programs=FACES)
class FaceOptions:
    """Faces"""

    speaker: Literal["largest", "talking", "all"] | PositiveInt = CropOptions.speaker
    """Whose mouth to crop where there are several faces: the largest face, the one whose mouth moves most,
    or a number counted from the left, starting at 1. all (transcription alone): everybody's, each transcribed
    by their own lips and named "speaker 1", "speaker 2", ..."""
    detector: Annotated[str, Registered("preparation.faces.detectors")] = DEFAULT_DETECTOR
    """Face detector."""
    detect_every: PositiveInt = CropOptions.detect_every
    """Frames from one that the face detector is shown to the next; between them faces are followed, and
    where that is not sure the detector is shown more. 1 shows it all."""
