"""Average every run of frames that belong to one visual unit, as VSP-LLM: [B, T, C] -> [B, runs, C]."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from av_hubert import units
from datamodules.batch import Padded


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
                "frames; make the units of these clips anew"
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


def make(centroids: Path | None = None, layer: int | None = None, **_: object) -> Compressor:
    """centroids: finds units on the fly. layer: needed for files that do not say.

    Raises ValueError for a file that cannot be read, or is of another layer."""
    if centroids is None:
        return Compressor()
    # The published k-means files say neither; they were made of videos joined by silence.
    silent_audio = None if centroids.suffix in units.SUFFIXES else True
    return Compressor(NearestCentroid(units.Centroids.load(centroids, layer, silent_audio)))
