"""K-means centroids of a share of the features."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from llama_avsr.commands.prepare.units._shared import FeatureOptions, described
from llama_avsr.options.common import LoggingOptions
from llama_avsr.options.fields import group, option
from llama_avsr.options.programs import Program
from llama_avsr.options.schema import Schema
from llama_avsr.options.values import NonNegativeInt, PositiveInt, Probability

EVERYTHING = ("all", "-1")
"""Of --percent; some scripts write -1."""


@group()
class FittingOptions:
    """Fitting"""

    out: Path | None = option(None, required=True)
    """Centroids to write, .npz or .safetensors."""
    num_clusters: PositiveInt = 200
    """Number of units."""
    percent: Literal["all", "-1"] | Probability = 0.1
    """Share of each shard's clips to fit to, from 0 to 1, or `all`."""
    seed: NonNegativeInt = 0
    """Seed of the choice of clips and frames."""
    scratch_dir: Path | None = None
    """Where the drawn features are kept while fitting, 4 bytes a value. Default: beside --out."""


@dataclass(frozen=True, kw_only=True)
class Options:
    features: FeatureOptions = field(default_factory=FeatureOptions)
    fitting: FittingOptions = field(default_factory=FittingOptions)
    logging: LoggingOptions = field(default_factory=LoggingOptions)


PROGRAM = Program(
    name="prepare units fit",
    title=(
        "Mini-batch k-means over a share of the clips of every shard. The drawn features lie in a file while "
        "fitting, so that they may be larger than memory."
    ),
    schema=Schema(Options),
)


def run(options: Options) -> None:
    from preparation.units import clustering

    features, asked = options.features, options.fitting
    centroids, fit = clustering.fit_units(
        features.features_dir,
        features.split,
        asked.out,
        num_clusters=asked.num_clusters,
        share=None if asked.percent in EVERYTHING else asked.percent,
        seed=asked.seed,
        layer=features.layer,
        audio=features.audio,
        scratch_dir=asked.scratch_dir,
    )
    print(described(asked.out, centroids))
    print(f"  fitted to {fit.num_frames} frames of {fit.num_utterances} clips")
    print(f"  inertia {fit.inertia:.6g}, {fit.inertia / fit.num_frames:.6g} a frame")
    print(f"  {clustering.usage_in_words(fit.usage)}")
