"""The readers, and small files that each of them reads."""

from __future__ import annotations

import io
import json
import pickle
import struct
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch
import yaml
from safetensors.torch import save

from av_hubert import fairseq_file, joblib_file
from datamodules import formats, media
from llama_avsr.checkpoints import folder as checkpoint
from llama_avsr.options import Options, to_dict
from llama_avsr.options.config_file import read_config
from llama_avsr.options.saved import from_dict
from preparation.datasets.transcripts import BesideReader
from preparation.faces.detectors import _landmark_files
from tests.unit import media_files

FACES = np.arange(3 * 4 * 2, dtype=np.float64).reshape(3, 4, 2)


@dataclass(frozen=True)
class Target:
    """A reader of one kind of file."""

    name: str
    """Name of the file that is written."""
    read: Callable[[Path], object]
    made: Callable[[], list[bytes]]
    """Files that it reads."""
    beside: tuple[tuple[str, bytes], ...] = ()
    """Other files that lie beside it."""


def _labels(path: Path) -> object:
    for clip in ("a", "b"):
        (path.parent / "own" / f"{clip}.mp4").parent.mkdir(exist_ok=True)
        (path.parent / "own" / f"{clip}.mp4").touch()
    options = {"avhubert-tsv": {"path_prefix": [f"/data={path.parent}"]}}
    return formats.read(path, path.parent, ("video",), options)


def _manifest(path: Path) -> object:
    return _labels(path.parent / "train.tsv")


def _options(path: Path) -> object:
    return from_dict(checkpoint.read_options(path.parent))


def _weights(path: Path) -> object:
    return checkpoint.read_state(path.parent)


MANIFEST = b"/data\n" + b"".join(
    b"en-en-%s\town/%s.mp4\town/%s.wav\t25\t16000\n" % (c, c, c) for c in (b"a", b"b")
)
CSV = b"own,a.mp4,25,1 2 3,hello world\nown,b.mp4,50,4 5,well, yes\n"
SRT = b"1\n00:00:01,000 --> 00:00:02,500\nHello <i>there</i>\n\n2\n00:00:03,000 --> 00:00:04,000\nWorld\n"
VTT = b"WEBVTT\n\nNOTE x\n\n00:01.000 --> 00:02.500 align:start\nHello\n\n00:03.000 --> 00:04.000\n- World\n"


def _torch_files() -> list[bytes]:
    content = {"model": {"w": torch.ones(2, 3), "b": torch.zeros(3)}, "cfg": {"model": {"x": 1}}}
    written = []
    for is_zip in (True, False):
        file = io.BytesIO()
        torch.save(content, file, _use_new_zipfile_serialization=is_zip)
        written.append(file.getvalue())
    return written


@cache
def _kmeans() -> tuple[bytes, ...]:
    import joblib
    from sklearn.cluster import KMeans

    model = KMeans(2, n_init=1, random_state=0).fit(np.arange(12, dtype=np.float32).reshape(6, 2))
    file = io.BytesIO()
    joblib.dump(model, file)
    return (file.getvalue(), pickle.dumps(model))


def _array_file(save_array: Callable[..., None]) -> list[bytes]:
    file = io.BytesIO()
    save_array(file, FACES)
    return [file.getvalue()]


@cache
def _sound() -> tuple[bytes, ...]:
    samples = (0.1 * media_files.tone(3200) * 32767).astype("<i2").tobytes()
    header = b"RIFF" + struct.pack("<I", 36 + len(samples)) + b"WAVEfmt "
    header += struct.pack("<IHHIIHH", 16, 1, 1, 16_000, 32_000, 2, 16) + b"data"
    return (header + struct.pack("<I", len(samples)) + samples,)


@cache
def _pictures() -> tuple[bytes, ...]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.mp4"
        media_files.write_video(path, media_files.moving_bar(6))
        return (path.read_bytes(),)


def _saved_options() -> list[bytes]:
    # As version 0.1 wrote it, without checksums, which would be all that is tried.
    config = {"format": checkpoint.FORMAT, "options": to_dict(Options()), "versions": {}}
    return [yaml.safe_dump(config, sort_keys=False).encode()]


TARGETS = {
    "csv": Target("labels.csv", _labels, lambda: [CSV]),
    "tsv": Target("train.tsv", _labels, lambda: [MANIFEST], (("train.wrd", b"hello\nwell yes\n"),)),
    "wrd": Target("train.wrd", _manifest, lambda: [b"hello\nwell yes\n"], (("train.tsv", MANIFEST),)),
    "cluster_counts": Target(
        "train.cluster_counts",
        _manifest,
        lambda: [b"20 5\n10 10 5\n"],
        (("train.tsv", MANIFEST), ("train.wrd", b"hello\nwell yes\n")),
    ),
    "srt": Target("talk.srt", BesideReader(), lambda: [SRT]),
    "vtt": Target("talk.vtt", BesideReader(verbatim=True), lambda: [VTT]),
    "config": Target(
        "config.yaml", read_config, lambda: [b"lr: 1e-3\ndata:\n  test_file: [a.csv, b.csv]\nseed: 4\n"]
    ),
    "checkpoint_config": Target("config.yaml", _options, _saved_options),
    "pt": Target("model.pt", fairseq_file.read_tensors, _torch_files),
    "fairseq": Target("model.pt", fairseq_file.read, _torch_files),
    "joblib": Target("model.km", joblib_file.cluster_centers, lambda: list(_kmeans())),
    "safetensors": Target(
        checkpoint.WEIGHTS,
        _weights,
        lambda: [save({"a": torch.ones(2, 3), "b": torch.zeros(4)})],
        ((checkpoint.CONFIG, _saved_options()[0]),),
    ),
    "npz": Target("a.npz", _landmark_files.read, lambda: _array_file(np.savez)),
    "npy": Target("a.npy", _landmark_files.read, lambda: _array_file(np.save)),
    "json": Target("a.json", _landmark_files.read, lambda: [json.dumps(FACES.tolist()).encode()]),
    "pkl": Target("a.pkl", _landmark_files.read, lambda: [pickle.dumps(list(FACES), p) for p in (2, 4)]),
    "wav": Target("a.wav", media.load_audio, lambda: list(_sound())),
    "mp4": Target("a.mp4", media.load_video, lambda: list(_pictures())),
}
