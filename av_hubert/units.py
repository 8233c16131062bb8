"""Visual units: which k-means centroid each frame's features lie nearest to, and runs of equal units.

Letters: B clips, T frames (25 Hz), D feature width, K centroids, R runs of equal units.
Numpy, torch and safetensors are imported where they are used: loader workers that want none pay for none.
"""

from __future__ import annotations

import json
import os
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

SUFFIXES = (".npz", ".safetensors")
FRAMES_PER_BLOCK = 4096
"""Frames compared with all centroids at once; bounds memory, changes no result."""
MADE_BY = "prepare_data.py units fit"
_BARE = "the file holds bare centroids: say which layer and audio mode their features had (--layer, --audio)"


@dataclass(frozen=True)
class Centroids:
    """K-means centroids, and the features they are centroids of."""

    values: np.ndarray
    """[K, D] float32."""
    layer: int
    """The AV-HuBERT layer whose raw output they were fitted to."""
    silent_audio: bool
    """Features beside an audio tensor of zeros, whose projection's bias takes part; else audio absent."""
    encoder: str | None = None
    """Fingerprint of the AV-HuBERT's weights, where known."""

    def __post_init__(self) -> None:
        import numpy as np

        values = np.ascontiguousarray(self.values, dtype=np.float32)
        if values.ndim != 2 or 0 in values.shape:
            raise ValueError(f"centroids: found shape {list(values.shape)}, expected [K, D]")
        if not np.isfinite(values).all():
            raise ValueError("centroids: found values that are not finite")
        if not isinstance(self.layer, int) or self.layer < 0:
            raise ValueError(f"centroids: found layer {self.layer!r}, expected 0 or more")
        object.__setattr__(self, "values", values)

    @property
    def num_clusters(self) -> int:
        """K."""
        return self.values.shape[0]

    @property
    def dim(self) -> int:
        """D."""
        return self.values.shape[1]

    def save(self, path: str | Path) -> None:
        """Write `.npz` or `.safetensors`, complete or not at all. Raises ValueError for another suffix."""
        path = Path(path)
        check_suffix(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
        try:
            self._write(temporary, path.suffix)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)

    def _write(self, path: Path, suffix: str) -> None:
        facts = {"layer": self.layer, "silent_audio": self.silent_audio}
        facts |= {"encoder": self.encoder} if self.encoder else {}
        if suffix == ".npz":
            import numpy as np

            with path.open("wb") as file:
                np.savez(file, centroids=self.values, **facts)
            return
        from safetensors.numpy import save

        metadata = {
            name: value if isinstance(value, str) else json.dumps(value) for name, value in facts.items()
        }
        path.write_bytes(save({"centroids": self.values}, metadata=metadata))

    @classmethod
    def load(cls, path: str | Path, layer: int | None = None, silent_audio: bool | None = None) -> Centroids:
        """Read what `save` wrote, or the k-means model of a `.joblib` or pickle. No file can run code.

        layer, silent_audio: needed for files that do not say (joblib, bare arrays), checked against others.

        Raises:
            UnsafePickleError: (a ValueError) a pickle that could run code; nothing of it was run.
            ValueError: not readable, no centroids in it, or not the layer or audio mode expected.
        """
        path = Path(path)
        found = _read(path)
        for name, expected in (("layer", layer), ("silent_audio", silent_audio)):
            known = found.setdefault(name, expected)
            if known is None:
                raise ValueError(f"{path}: found no {name}; {_BARE}")
            if expected is not None and known != expected:
                raise ValueError(
                    f"{path}: its centroids are of features with {name} {known}, expected {expected}; "
                    "features and centroids must be made with the same settings"
                )
        try:
            return cls(**found)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from None


def assign(features: np.ndarray, centroids: Centroids | np.ndarray) -> np.ndarray:
    """The nearest centroid of each frame by squared distance: [T, D] -> [T] int64.

    Raises ValueError where the widths differ.
    """
    return nearest(features, centroids)[0]


def nearest(features: np.ndarray, centroids: Centroids | np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """As `assign`, with the squared distance to that centroid: [T] int64 and [T] float64."""
    import numpy as np

    values = centroids.values if isinstance(centroids, Centroids) else centroids
    if features.ndim != 2 or features.shape[1] != values.shape[1]:
        raise ValueError(f"features: found shape {list(features.shape)}, expected [T, {values.shape[1]}]")
    # Double precision: neither the order of additions nor the device then decides between near neighbours.
    values = values.astype(np.float64)
    norms = (values**2).sum(axis=1)
    units, distances = np.empty(len(features), np.int64), np.empty(len(features), np.float64)
    for start in range(0, len(features), FRAMES_PER_BLOCK):
        block = features[start : start + FRAMES_PER_BLOCK].astype(np.float64)
        scores = norms - 2 * block @ values.T
        chosen = scores.argmin(axis=1)
        units[start : start + len(block)] = chosen
        squares = scores[np.arange(len(block)), chosen] + (block**2).sum(axis=1)
        distances[start : start + len(block)] = squares.clip(min=0)
    return units, distances


def assign_batch(values: Tensor, centroids: Tensor) -> Tensor:
    """The nearest centroid of each frame, on the device of `values`: [B, T, D], [K, D] -> [B, T] int64.

    What comes out for padded frames means nothing. Precision is double (single on devices without it)
    whatever autocast says: a rounded feature may be another unit.
    """
    import torch

    if values.shape[-1] != centroids.shape[-1]:
        raise ValueError(f"features: found width {values.shape[-1]}, expected {centroids.shape[-1]}")
    precision = torch.float32 if values.device.type == "mps" else torch.float64
    with torch.no_grad(), torch.autocast(values.device.type, enabled=False):
        points = centroids.detach().to(values.device, precision)
        scores = points.square().sum(1) - 2 * values.detach().to(precision) @ points.T
        return scores.argmin(dim=-1)


def run_lengths(units: np.ndarray) -> np.ndarray:
    """Lengths of the runs of equal units, in frames: [T] -> [R] int64. Their sum is T."""
    import numpy as np

    units = np.asarray(units)
    ends = np.flatnonzero(units[1:] != units[:-1]) + 1
    return np.diff(ends, prepend=0, append=len(units)) if len(units) else np.zeros(0, np.int64)


def run_lengths_batch(units: Tensor, lengths: Tensor) -> list[Tensor]:
    """As `run_lengths` for every clip of a batch: units [B, T], lengths [B] -> B tensors [R_i] int64.

    The results lie on the device of `units`; padded frames are never looked at.
    """
    import torch

    num_frames = units.shape[1]
    is_valid = torch.arange(num_frames, device=units.device) < lengths.to(units.device)[:, None]
    is_start = torch.ones_like(is_valid)
    is_start[:, 1:] = units[:, 1:] != units[:, :-1]
    is_start &= is_valid
    # Counted over the valid frames alone, the distance between two starts is the length of the run.
    starts = is_start[is_valid].nonzero().squeeze(1)
    runs = torch.diff(starts, append=is_valid.sum().reshape(1))
    return list(runs.split(is_start.sum(dim=1).tolist()))


def check_suffix(path: Path) -> None:
    """Raise ValueError for a path that `Centroids.save` would not take."""
    if path.suffix not in SUFFIXES:
        raise ValueError(f"{path}: found suffix {path.suffix!r}, expected {' or '.join(SUFFIXES)}")


def _read(path: Path) -> dict[str, Any]:
    """The fields of `Centroids` that the file has, by what it holds rather than by its name."""
    if not path.is_file():
        raise ValueError(f"{path}: no such file; expected centroids as {MADE_BY} writes them")
    if zipfile.is_zipfile(path):
        return _read_npz(path)
    with path.open("rb") as file:
        head = file.read(9)
    if head[8:9] == b"{":
        return _read_safetensors(path)
    from av_hubert import joblib_file

    return {"values": joblib_file.cluster_centers(path)}


def _read_npz(path: Path) -> dict[str, Any]:
    import numpy as np

    try:
        with np.load(path, allow_pickle=False) as arrays:
            if "centroids" not in arrays:
                raise ValueError(f"found the arrays {sorted(arrays)}, expected 'centroids'")
            facts = {
                name: arrays[name].item() for name in ("layer", "silent_audio", "encoder") if name in arrays
            }
            return {"values": arrays["centroids"], **facts}
    except (ValueError, OSError, EOFError, KeyError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path}: no centroids ({error}); make them with {MADE_BY}") from error


def _read_safetensors(path: Path) -> dict[str, Any]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="np") as file:
            metadata = file.metadata() or {}
            facts = {
                name: json.loads(metadata[name]) for name in ("layer", "silent_audio") if name in metadata
            }
            facts |= {"encoder": metadata["encoder"]} if "encoder" in metadata else {}
            return {"values": file.get_tensor("centroids"), **facts}
    except (SafetensorError, ValueError) as error:
        raise ValueError(f"{path}: no centroids ({error}); make them with {MADE_BY}") from error
