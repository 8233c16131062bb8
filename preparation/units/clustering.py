"""From shards of features to centroids, and from both to `.km` and `.cluster_counts`.

Letters: T frames (25 Hz), K centroids, R runs of equal units.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from av_hubert.units import Centroids, assign, check_suffix, run_lengths
from datamodules.files import whole_or_nothing
from preparation.units import kmeans, shards
from preparation.units.kmeans import Fit, Shard


@dataclass(frozen=True)
class Applied:
    """The unit files of one split."""

    km_path: Path
    counts_path: Path
    num_utterances: int
    num_frames: int
    num_runs: int
    usage: np.ndarray
    """Frames of each unit, [K]."""

    @property
    def tokens_per_frame(self) -> float:
        return self.num_runs / max(self.num_frames, 1)


def fit_units(
    folder: Path,
    split: str,
    out: Path,
    *,
    num_clusters: int = kmeans.NUM_CLUSTERS,
    share: float | None = kmeans.SHARE,
    seed: int = 0,
    layer: int | None = None,
    audio: str | None = None,
    scratch_dir: Path | None = None,
    show_progress: bool = True,
) -> tuple[Centroids, Fit]:
    """Fit centroids to a split's shards and write them to `out` (.npz or .safetensors).

    layer, audio: of features that came without their `.json`; checked against it where there is one.
    scratch_dir: where the drawn features lie while fitting; default beside `out`.
    Raises ValueError for shards that are missing or do not fit together, and see `kmeans.fit`.
    """
    check_suffix(out)
    paths = shards.find(folder, split)
    settings = _settings(paths, layer, audio)
    for name in ("layer", "audio"):
        if settings.get(name) is None:
            raise ValueError(f"{paths[0]}: no .json beside it says how the features were made; give --{name}")
    out.parent.mkdir(parents=True, exist_ok=True)
    scratch_dir = out.parent if scratch_dir is None else scratch_dir
    with _bar("k-means", None, "batch", show_progress) as bar:

        def on_step(done: int, most: int) -> None:
            bar.total = most
            bar.update(done - bar.n)

        fit = kmeans.fit(
            paths,
            num_clusters=num_clusters,
            share=share,
            seed=seed,
            scratch_dir=scratch_dir,
            on_step=on_step if show_progress else None,
        )
    centroids = Centroids(
        fit.centroids, settings["layer"], settings["audio"] == "silent", settings.get("encoder")
    )
    centroids.save(out)
    return centroids, fit


def apply_units(
    folder: Path,
    split: str,
    centroids_path: Path,
    out_dir: Path,
    *,
    layer: int | None = None,
    audio: str | None = None,
    show_progress: bool = True,
) -> Applied:
    """Write `{split}.km` and `{split}.cluster_counts`, one line an utterance in the label file's order.

    Raises ValueError for missing shards, and for centroids of another encoder, layer or audio mode.
    """
    paths = shards.find(folder, split)
    settings = _settings(paths, layer, audio)
    audio = settings.get("audio")
    centroids = Centroids.load(
        centroids_path, settings.get("layer"), None if audio is None else audio == "silent"
    )
    if centroids.encoder and settings.get("encoder", centroids.encoder) != centroids.encoder:
        raise ValueError(
            f"{centroids_path}: fitted to features of encoder {centroids.encoder[:8]}, these features are of "
            f"{settings['encoder'][:8]}; units of different encoders do not match"
        )
    opened = [Shard.open(path) for path in paths]
    km_path, counts_path = out_dir / f"{split}.km", out_dir / f"{split}.cluster_counts"
    num_runs, usage = 0, np.zeros(centroids.num_clusters, np.int64)
    with (
        whole_or_nothing(km_path) as km_part,
        whole_or_nothing(counts_path) as counts_part,
        km_part.open("w") as km,
        counts_part.open("w") as counts,
        _bar(split, sum(len(shard.lengths) for shard in opened), "clip", show_progress) as bar,
    ):
        for shard in opened:
            for features in shard:
                units = assign(features, centroids)
                runs = run_lengths(units)
                km.write(" ".join(map(str, units.tolist())) + "\n")
                counts.write(" ".join(map(str, runs.tolist())) + "\n")
                num_runs += len(runs)
                usage += np.bincount(units, minlength=len(usage))
                bar.update()
    num_utterances = sum(len(shard.lengths) for shard in opened)
    return Applied(km_path, counts_path, num_utterances, int(usage.sum()), num_runs, usage)


def usage_in_words(usage: np.ndarray) -> str:
    """How evenly clusters are used. usage: frames of each cluster, [K]."""
    shares = usage / max(usage.sum(), 1)
    used = shares[shares > 0]
    perplexity = math.exp(-float((used * np.log(used)).sum()))
    return (
        f"{len(used)} of {len(usage)} clusters used, perplexity {perplexity:.1f}; share of frames: "
        f"smallest {shares.min():.2%}, median {np.median(shares):.2%}, largest {shares.max():.2%}"
    )


def _settings(paths: list[Path], layer: int | None, audio: str | None) -> dict[str, object]:
    """How the features were made, by their `.json` or else as the caller says."""
    settings = shards.common_settings(paths)
    for name, given in (("layer", layer), ("audio", audio)):
        if given is not None and settings.setdefault(name, given) != given:
            raise ValueError(
                f"--{name} {given}: the features in {paths[0].parent} have {name} {settings[name]}"
            )
    return settings


@contextmanager
def _bar(description: str, total: int | None, unit: str, show_progress: bool) -> Iterator[tqdm]:
    with tqdm(
        desc=description,
        total=total,
        unit=unit,
        delay=0.5,
        mininterval=0.1 if sys.stderr.isatty() else 10.0,
        disable=not show_progress,
    ) as bar:
        yield bar
