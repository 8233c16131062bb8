"""Landmark files of other programs: what is read, and that nothing in them runs."""

import json
import os
import pickle
import pickletools
import re

import numpy as np
import pytest

from preparation.faces.detectors import DetectorOptions, build
from preparation.faces.detectors._landmark_files import LandmarkError, read

RNG = np.random.default_rng(0)
FRAMES = [RNG.normal(100, 30, (68, 2)), None, RNG.normal(100, 30, (68, 2))]


def agree(found, expected=FRAMES):
    assert len(found) == len(expected)
    for a, b in zip(found, expected, strict=True):
        assert (a is None) == (b is None)
        if b is not None:
            np.testing.assert_allclose(a, b, rtol=1e-6)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("dtype", ["<f4", "<f8", ">f4", "<i4"])
def test_pickled_lists_of_arrays(tmp_path, protocol, dtype):
    path = tmp_path / "a.pkl"
    frames = [None if points is None else points.astype(dtype) for points in FRAMES]
    path.write_bytes(pickle.dumps(frames, protocol))
    agree(read(path), [None if points is None else points.astype(float) for points in frames])


@pytest.mark.parametrize("name", [b"numpy.core.multiarray", b"numpy._core.multiarray"])
def test_names_of_both_numpys_and_fortran_order(tmp_path, name):
    path = tmp_path / "a.pkl"
    content = pickle.dumps([np.asfortranarray(FRAMES[0])], 2)
    written = re.sub(rb"numpy\._?core\.multiarray", name, content)
    assert name in written
    path.write_bytes(written)
    agree(read(path), FRAMES[:1])


def test_plain_files(tmp_path):
    stacked = np.stack([np.full((68, 2), np.nan) if points is None else points for points in FRAMES])
    np.save(tmp_path / "a.npy", stacked)
    np.savez(tmp_path / "b.npz", stacked)
    np.savez(tmp_path / "c.npz", landmarks=stacked, other=np.zeros(3))
    plain = [None if points is None else points.tolist() for points in FRAMES]
    (tmp_path / "d.json").write_text(json.dumps(plain))
    for name in ("a.npy", "b.npz", "c.npz", "d.json"):
        agree(read(tmp_path / name))
    np.save(tmp_path / "e.npy", np.zeros((5, 4, 2)))
    assert [points.shape for points in read(tmp_path / "e.npy")] == [(4, 2)] * 5


class Evil:
    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_nothing_in_a_pickle_runs(tmp_path, protocol):
    trace = tmp_path / "it_ran"
    for content in ([Evil(os.mkdir, str(trace))], Evil(eval, f"__import__('os').mkdir({str(trace)!r})")):
        path = tmp_path / "a.pkl"
        path.write_bytes(pickle.dumps(content, protocol))
        with pytest.raises(LandmarkError, match=r"a\.pkl: .*could run code. Nothing was run"):
            read(path)
        assert not trace.exists()


def test_an_array_of_objects_is_refused(tmp_path):
    path = tmp_path / "a.pkl"
    path.write_bytes(pickle.dumps([np.array([[1, None]] * 4, dtype=object)]))
    with pytest.raises(LandmarkError, match=r"a\.pkl: expected landmarks"):
        read(path)
    np.save(tmp_path / "a.npy", np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(LandmarkError, match=r"a\.npy: expected landmarks"):
        read(tmp_path / "a.npy")


def test_damaged_files_are_landmark_errors(tmp_path):
    whole = pickle.dumps(FRAMES)
    assert pickletools.genops(whole)
    contents = [
        b"",
        b"no pickle",
        whole[: len(whole) // 2],
        pickle.dumps(7),
        pickle.dumps([np.zeros((5, 2))]),
    ]
    contents += [pickle.dumps([np.zeros((68, 2)), np.zeros((4, 2))]), pickle.dumps([np.zeros((68, 3))])]
    for content in contents:
        for suffix in (".pkl", ".npz", ".npy", ".json"):
            path = tmp_path / f"a{suffix}"
            path.write_bytes(content)
            with pytest.raises(LandmarkError, match=r"a\."):
                read(path)
    rng = np.random.default_rng(1)
    for _ in range(200):
        damaged = bytearray(whole)
        damaged[rng.integers(len(damaged))] = rng.integers(256)
        (tmp_path / "a.pkl").write_bytes(damaged)
        try:
            read(tmp_path / "a.pkl")
        except LandmarkError:
            continue


def test_the_detector_finds_the_file_of_a_video(tmp_path):
    folder = tmp_path / "landmarks"
    (folder / "some").mkdir(parents=True)
    (folder / "some" / "a.b.pkl").write_bytes(pickle.dumps(FRAMES))
    detector = build(DetectorOptions("landmarks", {"landmarks": folder}))
    detector.begin(tmp_path / "videos" / "some" / "a.b.mp4", tmp_path.__class__("some/a.b.mp4"))
    faces = detector.detect(np.zeros((2, 8, 8, 3), np.uint8)) + detector.detect(
        np.zeros((3, 8, 8, 3), np.uint8)
    )
    assert [len(found) for found in faces] == [1, 0, 1, 0, 0]
    assert faces[0][0].box.tolist() == [*FRAMES[0].min(0), *FRAMES[0].max(0)]
    detector.end()
    detector.detect(np.zeros((1, 8, 8, 3), np.uint8))
    with pytest.raises(LandmarkError, match=r"landmarks of 3 frames, expected them of each of the video's 6"):
        detector.end()
    with pytest.raises(LandmarkError, match=r"b\.mp4: expected landmarks at .*b\.npz \(or"):
        detector.begin(tmp_path / "b.mp4", tmp_path.__class__("b.mp4"))
    with pytest.raises(ValueError, match="no such file or folder; expected landmarks"):
        build(DetectorOptions("landmarks", {"landmarks": tmp_path / "nowhere"}))
    with pytest.raises(ValueError, match=r"no 'landmark'; did you mean landmarks\?"):
        build(DetectorOptions("landmark"))
