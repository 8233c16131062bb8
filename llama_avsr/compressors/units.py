"""Average every run of frames that belong to one visual unit, as VSP-LLM: [B, T, C] -> [B, runs, C]."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from av_hubert import units
from datamodules.batch import Padded
from llama_avsr.options.fields import option
from llama_avsr.options.values import NonNegativeInt

FOLDS_BY_RATIO = False
TINY: dict[str, object] = {"units_centroids": None, "units_layer": None}


@dataclass(frozen=True, kw_only=True)
class Options:
    """Visual units"""

    units_centroids: Path | None = option(None, may_differ=True)
    """Centroids (`prepare_data.py units fit`) that find the units on the fly, with --compression-mode units.
    Default: the label files bring the units (`.cluster_counts`)."""
    units_layer: NonNegativeInt | None = option(None, may_differ=True)
    """AV-HuBERT layer whose features the centroids were made of. Default: as the centroids' file says."""


class NearestCentroid(nn.Module):
    """Finds units on the fly."""

    def __init__(self, centroids: units.Centroids) -> None:
        super().__init__()
        self.layer = centroids.layer
        self.silent_audio = centroids.silent_audio
        # A file of the user's, not a part of the model: no checkpoint holds it.
        self.register_buffer("centroids", torch.as_tensor(centroids.values), persistent=False)

    @torch.no_grad()
    def forward(self, features: Padded) -> list[Tensor]:
        assigned = units.assign_batch(features.values.float(), self.centroids.float())
        return units.run_lengths_batch(assigned.cpu(), features.lengths)


class Compressor(nn.Module):
    ratio = 1

    def __init__(self, finder: NearestCentroid | None = None) -> None:
        super().__init__()
        self.units = finder

    def num_tokens(self, frames: int) -> int:
        return frames

    def out_dim(self, dim: int) -> int:
        return dim

    def forward(self, frames: Padded, runs: Sequence[Tensor] | None = None) -> Padded:
        """Raises ValueError where a clip has no runs, or runs of another length."""
        if runs is None or any(clip is None for clip in runs):
            raise ValueError(
                "--compression-mode units: found a clip without units; expected .cluster_counts beside the "
                "label file (prepare_data.py units) or --units-centroids"
            )
        totals = torch.tensor([int(clip.sum()) for clip in runs])
        if not torch.equal(totals, frames.lengths):
            raise ValueError(
                f"run lengths of units sum to {totals.tolist()}, the clips have {frames.lengths.tolist()} "
                "frames; regenerate the units of these clips"
            )
        sizes = Padded.from_list(list(runs))
        # A product of matrices: adding up by index gives another result every time on a GPU.
        sums = _members(sizes, frames.values.shape[1]).to(frames.values) @ frames.zeroed().values
        return Padded(sums / sizes.values.clamp(min=1)[..., None].to(frames.values), sizes.lengths)


def _members(sizes: Padded, num_frames: int) -> Tensor:
    """[B, K, T] bool: whether frame t is of run k."""
    ends = sizes.values.cumsum(dim=1)[..., None]
    frame = torch.arange(num_frames)
    return (frame < ends) & (frame >= ends - sizes.values[..., None])


def make(dim: int, ratio: int, units_centroids: Path | None, units_layer: int | None) -> Compressor:
    """units_centroids: finds units on the fly. units_layer: needed for files that do not say.

    Raises ValueError for unreadable file, or is of another layer."""
    if units_centroids is None:
        return Compressor()
    # The published k-means files say neither; they were made of videos joined by silence.
    silent_audio = None if units_centroids.suffix in units.SUFFIXES else True
    return Compressor(NearestCentroid(units.Centroids.load(units_centroids, units_layer, silent_audio)))
