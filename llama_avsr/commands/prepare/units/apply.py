"""Units and run lengths from features and centroids."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from llama_avsr.commands.prepare.units._shared import FeatureOptions
from llama_avsr.options.common import LoggingOptions
from llama_avsr.options.fields import group, option
from llama_avsr.options.programs import Program
from llama_avsr.options.schema import Schema


@group()
class UnitOptions:
    """Units"""

    centroids: Path | None = option(None, required=True)
    """Centroids that `units fit` wrote, or a k-means model stored by joblib."""
    out_dir: Path | None = option(None, required=True)
    """Folder to write SPLIT.km and SPLIT.cluster_counts to."""


@dataclass(frozen=True, kw_only=True)
class Options:
    features: FeatureOptions = field(default_factory=FeatureOptions)
    units: UnitOptions = field(default_factory=UnitOptions)
    logging: LoggingOptions = field(default_factory=LoggingOptions)


PROGRAM = Program(
    name="prepare units apply",
    title=(
        "Write SPLIT.km (a unit for every frame) and SPLIT.cluster_counts (lengths of the runs of equal "
        "units), one line for each clip, in the label file's order."
    ),
    schema=Schema(Options),
)


def run(options: Options) -> None:
    from preparation.units import clustering

    features, asked = options.features, options.units
    made = clustering.apply_units(
        features.features_dir,
        features.split,
        asked.centroids,
        asked.out_dir,
        layer=features.layer,
        audio=features.audio,
    )
    print(f"{made.km_path}")
    print(f"{made.counts_path}")
    print(
        f"  {made.num_utterances} clips, {made.num_frames} frames, {made.num_runs} runs: "
        f"{made.tokens_per_frame:.3f} tokens a frame"
    )
    print(f"  {clustering.usage_in_words(made.usage)}")
