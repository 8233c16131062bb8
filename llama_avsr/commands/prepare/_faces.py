"""What the commands that find faces share: their options, and what these mean to `preparation`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from llama_avsr.options.faces import FaceOptions
from llama_avsr.options.schema import Schema
from preparation.faces.options import ALL, CropOptions

if TYPE_CHECKING:
    from preparation.faces.detectors import DetectorOptions

DETECTORS = ("detectors",)
"""The plug-ins whose options are among a command's."""
MAX_GAP_SECONDS = CropOptions.max_gap_seconds


@dataclass(frozen=True, kw_only=True)
class FaceCommandOptions:
    """Options of a command that finds faces."""

    faces: FaceOptions = field(default_factory=FaceOptions)
    plugins: dict[str, dict[str, Any]] = field(default_factory=lambda: SCHEMA.plugin_defaults())

    def chooses(self, kind: str, name: str) -> bool:
        """Whether a plug-in is in use."""
        return kind == "detectors" and name == self.faces.detector


SCHEMA = Schema(FaceCommandOptions, DETECTORS)


def detector_options(options: FaceCommandOptions) -> DetectorOptions:
    from preparation.faces.detectors import DetectorOptions

    name = options.faces.detector
    own = options.plugins.get(f"detectors/{name}", {})
    return DetectorOptions(name, {option: value for option, value in own.items() if value is not None})


def crop_options(
    options: FaceCommandOptions, max_gap: float = MAX_GAP_SECONDS, whole: bool = False
) -> CropOptions:
    if options.faces.speaker == ALL:
        raise ValueError("--speaker all is for transcription: a clip of a data set shows one face")
    return CropOptions(options.faces.speaker, whole, max_gap, options.faces.detect_every)
