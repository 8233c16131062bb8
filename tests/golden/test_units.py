"""Features, centroids, units and run lengths against recordings; see vsp_llm/cluster/README.md."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import prepare_data
from av_hubert import load_checkpoint
from av_hubert.units import Centroids
from datamodules.batch import Utterance
from preparation.units import kmeans
from preparation.units.clustering import apply_units
from preparation.units.extraction import extract_shard
from tests.golden.av_hubert import PLAIN_CHECKPOINT

FOLDER = Path(__file__).parent / "vsp_llm" / "cluster"
NUM_FRAMES = {"a": 19, "b": 13, "c": 31}
LABELS = {"lab_L1": ("km_L1", 1), "lab_L2": ("km_L2", 2), "lab_km20_L1": ("km20_L1", 1)}
FITS = [
    ("km_L1", 1, 1, None),
    ("km_L1_shard2", 1, 2, None),
    ("km_L1_pct", 1, 1, 0.5),
    ("km_L2", 2, 1, None),
    ("km_L2_shard2", 2, 2, None),
    ("km20_L1", 1, 1, None),
]
TOLERANCE = 1e-5


def recorded(name: str) -> np.ndarray:
    with np.load(FOLDER / f"{name}_centroids.npz") as arrays:
        return arrays["centroids"]


@pytest.fixture(scope="module")
def our_features(tmp_path_factory) -> Path:
    """Layers 0 to 2 in one shard and in two, made of the clips."""
    folder = tmp_path_factory.mktemp("features")
    model = load_checkpoint(PLAIN_CHECKPOINT)
    clips = [
        Utterance(
            id=name,
            video_path=FOLDER / "clips" / f"{name}.mp4",
            audio_path=FOLDER / "clips" / f"{name}.wav",
            num_frames=num_frames,
            text="",
            source=f"test:{line}",
        )
        for line, (name, num_frames) in enumerate(NUM_FRAMES.items(), start=1)
    ]
    for layer in (0, 1, 2):
        for nshard in (1, 2):
            for rank in range(nshard):
                where = folder / f"feat_L{layer}"
                extract_shard(
                    model,
                    clips,
                    where,
                    split="test",
                    layer=layer,
                    rank=rank,
                    nshard=nshard,
                    show_progress=False,
                )
    return folder


def test_features(our_features):
    paths = sorted(FOLDER.glob("feat_L*/*.npy"))
    assert len(paths) == 7
    for path in paths:
        ours = our_features / path.relative_to(FOLDER)
        assert np.abs(np.load(ours) - np.load(path)).max() < TOLERANCE, path
        assert ours.with_suffix(".len").read_bytes() == path.with_suffix(".len").read_bytes()
        assert ours.stat().st_size == path.stat().st_size


@pytest.mark.parametrize(("name", "layer", "nshard", "share"), FITS)
def test_our_fit_gives_the_recorded_centroids(name, layer, nshard, share):
    shards = [FOLDER / f"feat_L{layer}" / f"test_{rank}_{nshard}.npy" for rank in range(nshard)]
    expected = recorded(name)
    fit = kmeans.fit(shards, num_clusters=len(expected), share=share)
    assert fit.num_utterances == (2 if share else 3)
    assert fit.usage.sum() == fit.num_frames == (44 if share else 63)
    # Equal bits on the machine of the recordings; elsewhere sums may be taken in another order.
    np.testing.assert_allclose(fit.centroids, expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("labels", LABELS)
@pytest.mark.parametrize("source", ["recorded", "ours"])
def test_units_and_run_lengths(labels, source, our_features, tmp_path):
    name, layer = LABELS[labels]
    for nshard in (1, 2):
        features = tmp_path / f"{nshard}"
        features.mkdir()
        for path in ((FOLDER if source == "recorded" else our_features) / f"feat_L{layer}").glob(
            f"*_{nshard}.*"
        ):
            (features / path.name).write_bytes(path.read_bytes())
        out = tmp_path / f"out{nshard}"
        apply_units(
            features,
            "test",
            FOLDER / f"{name}.joblib",
            out,
            layer=layer,
            audio="silent",
            show_progress=False,
        )
        for file in ("test.km", "test.cluster_counts"):
            assert (out / file).read_bytes() == (FOLDER / labels / file).read_bytes()


@pytest.mark.parametrize("name", ["km_L1", "km_L2", "km20_L1", "km_L1_pct"])
def test_joblib_files_give_their_centroids(name):
    centroids = Centroids.load(FOLDER / f"{name}.joblib", layer=1, silent_audio=True)
    assert centroids.values.dtype == np.float32
    assert np.array_equal(centroids.values, recorded(name))


def test_three_commands_from_videos_to_the_recorded_units(tmp_path, capsys):
    (tmp_path / "labels").mkdir()
    lines = [f"clips,{name}.mp4,{num_frames},0,text" for name, num_frames in NUM_FRAMES.items()]
    (tmp_path / "labels" / "test.csv").write_text("\n".join(lines) + "\n")
    (tmp_path / "clips").symlink_to(FOLDER / "clips")
    features, centroids, out = tmp_path / "features", tmp_path / "centroids.npz", tmp_path / "units"
    for command in (
        f"extract --root-dir {tmp_path} --label-file test.csv --encoder {PLAIN_CHECKPOINT} --layer 1 "
        f"--out-dir {features} --num-workers 0",
        f"fit --features-dir {features} --split test --num-clusters 6 --percent all --out {centroids}",
        f"apply --features-dir {features} --split test --centroids {centroids} --out-dir {out}",
    ):
        assert prepare_data.main(["units", *command.split()]) == 0
    for file in ("test.km", "test.cluster_counts"):
        assert (out / file).read_bytes() == (FOLDER / "lab_L1" / file).read_bytes()
    printed = capsys.readouterr().out
    assert "3 clips, 63 frames, 9 runs: 0.143 tokens a frame" in printed
    assert "6 of 6 clusters used" in printed
    assert "6 centroids of width 64, layer 1, audio silent" in printed
