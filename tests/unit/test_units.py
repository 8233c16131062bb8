"""Centroids on disk, units and run lengths."""

from __future__ import annotations

import io
import os
import pickle
import struct
import subprocess
import sys

import joblib
import numpy as np
import pytest
import torch
from sklearn.cluster import MiniBatchKMeans

from av_hubert.safe_pickle import UnsafePickleError
from av_hubert.units import Centroids, assign, assign_batch, nearest, run_lengths, run_lengths_batch
from tests.unit.test_av_hubert_safe_pickle import EXPLOITS

RNG = np.random.default_rng(0)
VALUES = RNG.normal(size=(5, 3)).astype(np.float32)


def k_means() -> MiniBatchKMeans:
    points = RNG.normal(size=(40, 3)).astype(np.float32)
    return MiniBatchKMeans(5, n_init=1, random_state=np.random.RandomState(0)).fit(points)


@pytest.mark.parametrize("suffix", [".npz", ".safetensors"])
@pytest.mark.parametrize("encoder", [None, "0123abcd"])
def test_centroids_come_back(suffix, encoder, tmp_path):
    path = tmp_path / "deep" / f"centroids{suffix}"
    Centroids(VALUES, 12, False, encoder).save(path)
    loaded = Centroids.load(path)
    assert np.array_equal(loaded.values, VALUES)
    assert (loaded.layer, loaded.silent_audio, loaded.encoder) == (12, False, encoder)
    assert (loaded.num_clusters, loaded.dim) == (5, 3)
    assert Centroids.load(path, layer=12, silent_audio=False).layer == 12
    with pytest.raises(ValueError, match=r"features with layer 12, expected 9"):
        Centroids.load(path, layer=9)
    with pytest.raises(ValueError, match=r"features with silent_audio False, expected True"):
        Centroids.load(path, silent_audio=True)
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_a_bare_array_needs_its_layer(tmp_path):
    np.savez(tmp_path / "bare.npz", centroids=VALUES.astype(np.float64))
    with pytest.raises(ValueError, match=r"found no layer; .*--layer"):
        Centroids.load(tmp_path / "bare.npz")
    with pytest.raises(ValueError, match=r"found no silent_audio; "):
        Centroids.load(tmp_path / "bare.npz", layer=12)
    loaded = Centroids.load(tmp_path / "bare.npz", layer=12, silent_audio=True)
    assert loaded.values.dtype == np.float32


def store_joblib(model, path, protocol):
    joblib.dump(model, path, protocol=protocol)


def store_pickle(model, path, protocol):
    path.write_bytes(pickle.dumps(model, protocol=protocol))


@pytest.mark.parametrize("store", [store_joblib, store_pickle])
@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("order", ["C", "F"])
def test_stored_models_give_their_centroids(store, protocol, order, tmp_path):
    # Other arrays (labels, the generator's state) come before and after the centroids.
    model = k_means()
    model.cluster_centers_ = np.asarray(model.cluster_centers_, order=order)
    path = tmp_path / "km.bin"
    store(model, path, protocol)
    if protocol == 2 and store is store_pickle:
        # Bytes are text in these pickles, decoded by a function.
        with pytest.raises(ValueError, match=r"km\.bin: found "):
            Centroids.load(path, layer=12, silent_audio=True)
        return
    centroids = Centroids.load(path, layer=12, silent_audio=True)
    assert np.array_equal(centroids.values, model.cluster_centers_)


def test_a_big_endian_model(tmp_path):
    model = k_means()
    expected = model.cluster_centers_
    model.cluster_centers_ = expected.astype(">f8")
    joblib.dump(model, tmp_path / "km.joblib")
    assert np.array_equal(Centroids.load(tmp_path / "km.joblib", 1, True).values, expected)


@pytest.mark.parametrize("exploit", EXPLOITS)
@pytest.mark.parametrize("where", ["instead", "before", "after", "pickle"])
def test_an_evil_file_is_refused_and_runs_nothing(exploit, where, tmp_path):
    marker = tmp_path / "marker"
    bomb = EXPLOITS[exploit](marker)
    model = k_means()
    if where == "before":
        model.__dict__ = {"a": bomb, **model.__dict__}
    elif where == "after":
        model.bomb = bomb
    path = tmp_path / "evil.joblib"
    if where == "pickle":
        path.write_bytes(pickle.dumps({"cluster_centers_": VALUES, "b": bomb}))
    else:
        joblib.dump(bomb if where == "instead" else model, path)
    joblib.load(path)
    assert marker.exists(), "the exploit itself works"
    marker.unlink()
    with pytest.raises(
        UnsafePickleError, match=r"evil\.joblib: refused: its pickle names [\w.]+, which could run"
    ):
        Centroids.load(path, layer=12, silent_audio=True)
    assert not marker.exists()


def test_a_bomb_inside_an_array_of_objects_is_not_reached(tmp_path):
    marker = tmp_path / "marker"
    model = k_means()
    model.cluster_centers_ = np.array([[EXPLOITS["os.system"](marker)]], dtype=object)
    joblib.dump(model, tmp_path / "evil.joblib")
    with pytest.raises(ValueError, match="an array of 'O8', which is not plain numbers"):
        Centroids.load(tmp_path / "evil.joblib", layer=12, silent_audio=True)
    assert not marker.exists()


def test_an_npz_of_objects_is_not_unpickled(tmp_path):
    marker = tmp_path / "marker"
    np.savez(tmp_path / "evil.npz", centroids=np.array([EXPLOITS["os.system"](marker)], dtype=object))
    with pytest.raises(ValueError, match=r"evil\.npz: no centroids \(Object arrays cannot be loaded"):
        Centroids.load(tmp_path / "evil.npz", layer=12, silent_audio=True)
    assert not marker.exists()


def content(kind: str) -> bytes:
    buffer = io.BytesIO()
    if kind == "zip":
        np.savez(buffer, other=VALUES)
    elif kind == "gzip":
        return b"\x1f\x8b rest"
    elif kind == "pickle":
        return pickle.dumps([1, 2])
    elif kind == "unfitted":
        joblib.dump(MiniBatchKMeans(5), buffer)
    elif kind == "truncated":
        joblib.dump(k_means(), buffer)
        return buffer.getvalue()[:-40]
    elif kind == "safetensors":
        return struct.pack("<Q", 2) + b"{}"
    elif kind == "huge":
        joblib.dump(k_means(), buffer)
        return buffer.getvalue().replace(b"K\x05K\x03\x86", b"J\xff\xff\xff\x7fK\x03\x86")
    elif kind == "scalar":
        np.savez(buffer, centroids=np.float32(1))
    elif kind == "nan":
        np.savez(buffer, centroids=np.full((2, 2), np.nan))
    else:
        return b"what is this"
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("zip", r"found the arrays \['other'\], expected 'centroids'"),
        ("gzip", r"compressed with gzip, expected a plain one; where you trust the file"),
        ("pickle", r"found a list without cluster_centers_; expected \.npz or"),
        ("unfitted", r"found sklearn\.cluster\._kmeans\.MiniBatchKMeans without cluster_centers_"),
        ("truncated", r"found (a truncated file|no readable pickle)"),
        ("safetensors", r"no centroids"),
        ("huge", r"an array of shape \[2147483647, 3\]"),
        ("scalar", r"centroids: found shape \[1\], expected \[K, D\]"),
        ("nan", r"centroids: found values that are not finite"),
        ("text", r"no readable pickle"),
    ],
)
def test_what_holds_no_centroids_says_what_it_holds(kind, message, tmp_path):
    path = tmp_path / "file.bin"
    path.write_bytes(content(kind))
    with pytest.raises(ValueError, match=message) as caught:
        Centroids.load(path, layer=12, silent_audio=True)
    assert str(path) in str(caught.value)


def test_names_that_cannot_be(tmp_path):
    with pytest.raises(ValueError, match=r"no such file; expected centroids as prepare_data\.py units fit"):
        Centroids.load(tmp_path / "none.npz")
    with pytest.raises(ValueError, match=r"found suffix '\.joblib', expected \.npz or \.safetensors"):
        Centroids(VALUES, 1, True).save(tmp_path / "a.joblib")
    assert not list(tmp_path.iterdir())
    with pytest.raises(ValueError, match="found layer -1, expected 0 or more"):
        Centroids(VALUES, -1, True)


def test_units_are_the_nearest_centroids():
    features = RNG.normal(size=(10_000, 3)).astype(np.float32)
    squares = ((features[:, None].astype(np.float64) - VALUES[None]) ** 2).sum(axis=2)
    units, distances = nearest(features, VALUES)
    assert np.array_equal(units, squares.argmin(axis=1))
    np.testing.assert_allclose(distances, squares.min(axis=1), atol=1e-12)
    assert np.array_equal(assign(features, Centroids(VALUES, 0, True)), units)
    batched = assign_batch(torch.from_numpy(features).reshape(20, 500, 3), torch.from_numpy(VALUES))
    assert batched.dtype == torch.int64
    assert np.array_equal(batched.reshape(-1).numpy(), units)
    assert assign(features[:0], VALUES).shape == (0,)
    with pytest.raises(ValueError, match=r"found shape \[10000, 3\], expected \[T, 2\]"):
        assign(features, VALUES[:, :2])
    with pytest.raises(ValueError, match=r"found width 3, expected 2"):
        assign_batch(torch.from_numpy(features)[None], torch.from_numpy(VALUES[:, :2]))


def test_near_neighbours_far_from_the_origin_are_told_apart():
    centroids = np.array([[1000.0, 1000.01]], dtype=np.float32).T
    features = np.linspace(999.9, 1000.1, 41, dtype=np.float32)[:, None]
    expected = (features[:, 0] > np.float64(centroids[:, 0].mean(dtype=np.float64))).astype(int)
    assert np.array_equal(assign(features, centroids), expected)
    tensors = torch.from_numpy(features)[None].requires_grad_(), torch.from_numpy(centroids)
    with torch.autocast("cpu", torch.bfloat16):
        found = assign_batch(*tensors)
    assert np.array_equal(found[0].numpy(), expected)


@pytest.mark.parametrize(
    ("units", "expected"),
    [([], []), ([7], [1]), ([1, 1, 1], [3]), ([1, 2, 2, 1], [1, 2, 1]), ([3, 2, 1], [1, 1, 1])],
)
def test_run_lengths(units, expected):
    assert run_lengths(np.array(units, dtype=np.int64)).tolist() == expected


def test_run_lengths_of_a_batch_are_those_of_its_clips():
    generator = torch.Generator().manual_seed(0)
    for num_units in (1, 2, 5):
        units = torch.randint(0, num_units, (6, 12), generator=generator)
        lengths = torch.tensor([12, 1, 0, 7, 11, 0])
        found = run_lengths_batch(units, lengths)
        assert [runs.tolist() for runs in found] == [
            run_lengths(clip[:length].numpy()).tolist()
            for clip, length in zip(units, lengths.tolist(), strict=True)
        ]
        assert [int(runs.sum()) for runs in found] == lengths.tolist()
        # Poisoned padding.
        poisoned = torch.where(torch.arange(12) < lengths[:, None], units, torch.arange(12) + 100)
        for runs, others in zip(found, run_lengths_batch(poisoned, lengths), strict=True):
            assert torch.equal(runs, others)


def test_importing_units_imports_nothing_heavy():
    code = "import sys, av_hubert.units; print(sorted({'numpy', 'torch', 'sklearn'} & set(sys.modules)))"
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ
    )
    assert found.stdout.strip() == "[]"
