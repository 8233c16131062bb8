"""K-means over shards: draws, memory, and shards that do not fit together."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from sklearn.cluster import MiniBatchKMeans

from av_hubert.units import assign
from preparation.units.kmeans import Shard, fit

DIM = 4


def write_shard(path: Path, lengths: list[int], seed: int = 0, dim: int = DIM) -> Path:
    values = np.random.default_rng(seed).normal(size=(sum(lengths), dim)).astype(np.float32)
    np.save(path, values)
    path.with_suffix(".len").write_text("".join(f"{length}\n" for length in lengths))
    return path


@pytest.fixture
def shards(tmp_path) -> list[Path]:
    return [
        write_shard(tmp_path / f"train_{rank}_3.npy", lengths, seed=rank)
        for rank, lengths in enumerate([[30, 20, 11, 40, 9], [25, 3, 30], []])
    ]


def test_the_draw_is_the_specified_one(shards, monkeypatch):
    """`ceil(n p)` utterances of each shard in rank order, on the generator that the fit then goes on with."""
    seen = []
    monkeypatch.setattr(MiniBatchKMeans, "fit", lambda self, x: seen.append((np.array(x), self)) or stop())

    class Stop(Exception):
        pass

    def stop():
        raise Stop

    with pytest.raises(Stop):
        fit(shards, num_clusters=3, share=0.3, seed=5)
    np.random.seed(5)
    expected = []
    for path in shards[:2]:
        clips = list(Shard.open(path))
        expected += [clips[i] for i in np.random.choice(len(clips), -(-len(clips) * 3 // 10), replace=False)]
    sample, model = seen[0]
    assert len(expected) == 3
    assert np.array_equal(sample, np.concatenate(expected))
    assert model.random_state.randint(1 << 30) == np.random.randint(1 << 30)


def test_all_clips_as_they_lie_and_what_it_tells(shards, tmp_path):
    before = np.random.get_state()[1].copy()
    steps = []
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    found = fit(
        shards, num_clusters=3, share=None, scratch_dir=scratch, on_step=lambda *step: steps.append(step)
    )
    assert np.array_equal(np.random.get_state()[1], before)
    everything = np.concatenate([np.load(path) for path in shards])
    assert (found.num_utterances, found.num_frames) == (8, len(everything))
    units = assign(everything, found.centroids)
    assert np.array_equal(found.usage, np.bincount(units, minlength=3))
    assert found.inertia == pytest.approx(((everything - found.centroids[units]) ** 2).sum(), rel=1e-5)
    # No worse than a fit by the ordinary way.
    other = MiniBatchKMeans(3, n_init=20, random_state=0).fit(everything)
    assert found.inertia < 1.05 * other.inertia_
    assert [done for done, _ in steps] == list(range(1, len(steps) + 1))
    assert all(most == 100 for _, most in steps)
    assert not list(scratch.iterdir())
    again = fit(shards, num_clusters=3, share=None)
    assert np.array_equal(again.centroids, found.centroids)
    assert not np.array_equal(fit(shards, num_clusters=3, share=None, seed=1).centroids, found.centroids)


def test_memory_holds_none_of_the_features(tmp_path, monkeypatch):
    """40 MB of features in mini-batches of a quarter of a megabyte."""
    monkeypatch.setattr("preparation.units.kmeans.MAX_EPOCHS", 2)
    monkeypatch.setattr("preparation.units.kmeans.NUM_INITS", 1)
    monkeypatch.setattr("preparation.units.kmeans.BATCH_SIZE", 1000)
    paths = [write_shard(tmp_path / f"train_{rank}_2.npy", [100] * 800, rank, dim=64) for rank in range(2)]
    num_bytes = sum(path.stat().st_size for path in paths)
    fit(paths[:1], num_clusters=2, share=0.01)  # imports
    tracemalloc.start()
    try:
        found = fit(paths, num_clusters=4, share=None)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert found.num_frames == 160_000
    assert num_bytes > 40e6
    assert peak < num_bytes / 4


def test_shares_and_clusters_that_cannot_be(shards):
    for share in (0.0, 1.5, -0.1):
        with pytest.raises(ValueError, match=r"found .*, expected more than 0 and at most 1"):
            fit(shards, share=share)
    with pytest.raises(ValueError, match=r"found 168 frames of 8 clips, too few for 200 clusters; draw a"):
        fit(shards, share=1.0)
    with pytest.raises(ValueError, match="number of clusters: found 0"):
        fit(shards, num_clusters=0)
    with pytest.raises(ValueError, match="expected at least one shard"):
        fit([])


def test_shards_that_are_none(shards, tmp_path):
    with pytest.raises(
        ValueError, match=r"shards of one width expected, found .*train_0_3\.npy 4, other\.npy 5"
    ):
        fit([shards[0], write_shard(tmp_path / "other.npy", [9], dim=5)], num_clusters=2)
    (tmp_path / "train_0_3.len").write_text("3\n4\n")
    with pytest.raises(
        ValueError, match=r"found float32 \[110, 4\], expected float32 \[7, D\] as train_0_3\.len"
    ):
        Shard.open(shards[0])
    (tmp_path / "train_0_3.len").unlink()
    with pytest.raises(ValueError, match=r"train_0_3\.npy: not readable with its train_0_3\.len"):
        Shard.open(shards[0])
    np.save(tmp_path / "evil.npy", np.array([print], dtype=object))
    (tmp_path / "evil.len").write_text("1\n")
    with pytest.raises(ValueError, match=r"evil\.npy: not readable"):
        Shard.open(tmp_path / "evil.npy")
