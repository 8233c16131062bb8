"""Other people's centroids (.joblib, .pkl) to .npz or .safetensors."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from llama_avsr.commands.prepare.units._shared import Audio, described
from llama_avsr.options.common import LoggingOptions
from llama_avsr.options.fields import group, option
from llama_avsr.options.programs import Program
from llama_avsr.options.schema import Schema
from llama_avsr.options.values import NonNegativeInt


@group()
class CentroidOptions:
    """Centroids"""

    source: Path | None = option(None, positional=True, required=True)
    """K-means model stored by joblib or pickle; nothing in it is run."""
    out: Path | None = option(None, positional=True, required=True)
    """File to write, .npz or .safetensors."""
    layer: NonNegativeInt | None = None
    """Layer of the features that the model was fitted to."""
    audio: Audio | None = None
    """Audio mode of the features that the model was fitted to."""


@dataclass(frozen=True, kw_only=True)
class Options:
    centroids: CentroidOptions = field(default_factory=CentroidOptions)
    logging: LoggingOptions = field(default_factory=LoggingOptions)


PROGRAM = Program(
    name="prepare units convert",
    title="Take the centroids out of a scikit-learn k-means model, without running anything in its file.",
    words="SOURCE OUT [flags]",
    schema=Schema(Options),
)


def run(options: Options) -> None:
    from av_hubert.units import Centroids, check_suffix

    asked = options.centroids
    check_suffix(asked.out)
    silent_audio = None if asked.audio is None else asked.audio == "silent"
    centroids = Centroids.load(asked.source, asked.layer, silent_audio)
    centroids.save(asked.out)
    print(described(asked.out, centroids))
