"""K-means over features kept in shards, however large they are.

A shard is `NAME.npy`, float32 [frames, D], and `NAME.len`, the frames of each utterance, one a line.
Letters: N frames, D feature width, K centroids.
"""

from __future__ import annotations

import contextlib
import io
import math
import re
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from av_hubert.units import FRAMES_PER_BLOCK, nearest

if TYPE_CHECKING:
    import numpy as np

NUM_CLUSTERS = 200
SHARE = 0.1
BATCH_SIZE = 10_000
"""Frames in a mini-batch."""
MAX_EPOCHS = 100
NUM_INITS = 20
MAX_STEPS_WITHOUT_GAIN = 100


@dataclass(frozen=True)
class Shard:
    """Features of some utterances, one after another; on disk until they are looked at."""

    path: Path
    values: np.ndarray
    """[N, D] float32, mapped from the file."""
    lengths: np.ndarray
    """Frames of each utterance, int64; their sum is N."""

    @classmethod
    def open(cls, path: Path) -> Shard:
        """Map a `.npy` whose `.len` lies beside it. Raises ValueError where the two do not make a shard."""
        import numpy as np

        lengths_path = path.with_suffix(".len")
        try:
            lengths = np.array([int(line) for line in lengths_path.read_text().split()], dtype=np.int64)
            # Nothing can be mapped of an empty array.
            values = np.load(path, mmap_mode="r" if lengths.sum() else None, allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise ValueError(f"{path}: not readable with its {lengths_path.name} ({error})") from error
        if values.ndim != 2 or values.dtype != np.float32 or len(values) != lengths.sum():
            raise ValueError(
                f"{path}: found {values.dtype} {list(values.shape)}, expected float32 "
                f"[{lengths.sum()}, D] as {lengths_path.name} says; extract this shard again"
            )
        return cls(path, values, lengths)

    def __iter__(self) -> Iterator[np.ndarray]:
        """The features of each utterance, [T, D]."""
        start = 0
        for length in self.lengths:
            yield self.values[start : start + length]
            start += length


@dataclass(frozen=True)
class Fit:
    """A k-means and how well it fits the frames it was made from."""

    centroids: np.ndarray
    """[K, D] float32."""
    num_utterances: int
    num_frames: int
    """Drawn from the shards, N."""
    inertia: float
    """Sum of the squared distances of the N frames to their nearest centroid."""
    usage: np.ndarray
    """Frames nearest to each centroid, [K] int64."""


def fit(
    shards: Sequence[Path],
    *,
    num_clusters: int = NUM_CLUSTERS,
    share: float | None = SHARE,
    seed: int = 0,
    scratch_dir: Path | None = None,
    on_step: Callable[[int, int], None] | None = None,
) -> Fit:
    """Mini-batch k-means over a share of the utterances of each shard.

    shards: `.npy` files in rank order, their `.len` beside them.
    share: of each shard's utterances, rounded up, drawn without replacement; None takes all, as they lie.
    scratch_dir: where the drawn features are kept while fitting (4 N D bytes); memory holds none of them.
    on_step: called with the mini-batches done and the most there will be.

    The draws, and so the centroids, are those of scikit-learn 1.4 after `numpy.random.seed(seed)`, whatever
    version is installed; numpy's global generator is not touched.

    Raises ValueError for shards that do not fit together and where the frames are fewer than the clusters.
    """
    if not shards:
        raise ValueError("k-means: found no features, expected at least one shard")
    if share is not None and not 0 < share <= 1:
        raise ValueError(f"share of utterances: found {share}, expected more than 0 and at most 1, or none")
    if num_clusters < 1:
        raise ValueError(f"number of clusters: found {num_clusters}, expected 1 or more")
    opened = [Shard.open(Path(path)) for path in shards]
    if len({shard.values.shape[1] for shard in opened}) > 1:
        found = ", ".join(f"{shard.path.name} {shard.values.shape[1]}" for shard in opened)
        raise ValueError(f"shards of one width expected, found {found}; are they of one encoder?")
    random = _generator(seed)
    drawn = [_draw(shard, share, random) for shard in opened]
    num_utterances = sum(map(len, drawn))
    num_frames = sum(int(shard.lengths[chosen].sum()) for shard, chosen in zip(opened, drawn, strict=True))
    if num_frames < num_clusters:
        raise ValueError(
            f"found {num_frames} frames of {num_utterances} clips, too few for {num_clusters} clusters; "
            "draw a larger share, or ask for fewer clusters"
        )
    with tempfile.TemporaryDirectory(prefix=".k-means-", dir=scratch_dir) as folder:
        sample = _sample(opened, drawn, num_frames, Path(folder) / "sample")
        centroids = _fit(sample, num_clusters, random, on_step)
        inertia, usage = _measured(sample, centroids)
        del sample  # before its file goes
    return Fit(centroids, num_utterances, num_frames, inertia, usage)


def _generator(seed: int) -> np.random.RandomState:
    import numpy as np

    class Generator(np.random.RandomState):
        """Draws mini-batches of equally likely frames as whole numbers.

        scikit-learn 1.4, which made the published centroids, drew them so. 1.9 asks for them by
        probabilities: other numbers come out, after work in proportion to N for every batch.
        """

        def choice(self, a, size=None, replace=True, p=None):
            if p is not None and replace and size is not None:
                return self.randint(0, a, size)
            return super().choice(a, size, replace, p)

    return Generator(seed)


def _draw(shard: Shard, share: float | None, random: np.random.RandomState) -> np.ndarray:
    """Indices of the utterances to fit to, in the order drawn."""
    import numpy as np

    num_utterances = len(shard.lengths)
    if share is None or not num_utterances:
        return np.arange(num_utterances)
    return random.choice(num_utterances, math.ceil(num_utterances * share), replace=False)


def _sample(shards: Sequence[Shard], drawn: Sequence[np.ndarray], num_frames: int, path: Path) -> np.ndarray:
    """The drawn utterances one after another, as a map [N, D] of a new file."""
    import numpy as np

    with path.open("wb") as file:
        for shard, chosen in zip(shards, drawn, strict=True):
            ends = shard.lengths.cumsum()
            for index in chosen:
                file.write(shard.values[ends[index] - shard.lengths[index] : ends[index]].tobytes())
    return np.memmap(path, np.float32, "r", shape=(num_frames, shards[0].values.shape[1]))


def _fit(
    sample: np.ndarray,
    num_clusters: int,
    random: np.random.RandomState,
    on_step: Callable[[int, int], None] | None,
) -> np.ndarray:
    from sklearn.cluster import MiniBatchKMeans

    model = MiniBatchKMeans(
        n_clusters=num_clusters,
        init="k-means++",
        max_iter=MAX_EPOCHS,
        batch_size=BATCH_SIZE,
        tol=0.0,
        n_init=NUM_INITS,
        max_no_improvement=MAX_STEPS_WITHOUT_GAIN,
        reassignment_ratio=0.0,
        compute_labels=False,
        random_state=random,
        verbose=int(on_step is not None),
    )
    with _following(on_step):
        model.fit(sample)
    return model.cluster_centers_


@contextlib.contextmanager
def _following(on_step: Callable[[int, int], None] | None) -> Iterator[None]:
    """Hand on the steps that scikit-learn prints; it has no other way to tell."""
    if on_step is None:
        yield
        return

    class Steps(io.TextIOBase):
        def write(self, text: str) -> int:
            if step := re.match(r"Minibatch step (\d+)/(\d+)", text):
                on_step(int(step[1]), int(step[2]))
            return len(text)

    with contextlib.redirect_stdout(Steps()):
        yield


def _measured(sample: np.ndarray, centroids: np.ndarray) -> tuple[float, np.ndarray]:
    import numpy as np

    inertia, usage = 0.0, np.zeros(len(centroids), np.int64)
    for start in range(0, len(sample), FRAMES_PER_BLOCK):
        units, distances = nearest(sample[start : start + FRAMES_PER_BLOCK], centroids)
        inertia += float(distances.sum())
        usage += np.bincount(units, minlength=len(centroids))
    return inertia, usage
