"""What the steps share."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from llama_avsr.options.fields import group, option
from llama_avsr.options.values import NonNegativeInt

if TYPE_CHECKING:
    from av_hubert.units import Centroids

Audio = Literal["silent", "absent"]


@group()
class FeatureOptions:
    """Features"""

    features_dir: Path | None = option(None, required=True)
    """Folder that `units extract` wrote to."""
    split: str | None = option(None, required=True)
    """Name of the shards."""
    layer: NonNegativeInt | None = None
    """Layer of features that have no .json beside them."""
    audio: Audio | None = None
    """Audio mode of features that have no .json beside them."""


def described(path: Path, centroids: Centroids) -> str:
    """A line about centroids that were written to `path`."""
    audio = "silent" if centroids.silent_audio else "absent"
    size = f"{centroids.num_clusters} centroids of width {centroids.dim}"
    return f"{path}: {size}, layer {centroids.layer}, audio {audio}"
