"""Small files that claim to be large: refused in a sentence, before memory or time is taken."""

from __future__ import annotations

import pickle
import struct
import zipfile
from pathlib import Path

import pytest

from av_hubert import fairseq_file
from llama_avsr.checkpoints import folder as checkpoint
from llama_avsr.options.config_file import read_config
from preparation.faces.detectors import _landmark_files

BOMB = "[&a [x,x,x,x,x,x,x,x,x]" + "".join(
    f",&{chr(98 + i)} [{','.join(['*' + chr(97 + i)] * 9)}]" for i in range(9)
)


def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value)) + value.encode()


def number(value: int) -> bytes:
    return pickle.dumps(value, 2)[2:-1]


def doubling(depth: int, build: bytes) -> bytes:
    """A value that holds the one before it twice, `depth` times over."""
    return text("a") + b"q\x00" + (b"0" + build + b"q\x00") * depth


def tensor(shape: tuple[int, ...], stride: tuple[int, ...], post: bytes = b"") -> bytes:
    storage = b"(" + text("storage") + b"ctorch\nFloatStorage\n" + text("0") + text("cpu") + b"K\x10tQ"
    sizes = pickle.dumps(shape, 2)[2:-1] + pickle.dumps(stride, 2)[2:-1]
    return b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + number(0) + sizes + b"\x89}tR" + post


def model(value: bytes) -> bytes:
    return b"\x80\x02}(" + text("model") + b"}" + text("w") + value + b"su."


LISTS, TUPLES = b"](h\x00h\x00e", b"h\x00h\x00\x86"
PROGRAMS = {
    "stride 0": model(tensor((1 << 33,), (0,))),
    "nothing of everything": model(tensor((0, 1 << 62, 1 << 62), (1, 1, 1))),
    "too few strides": model(tensor((4,), (1, 1))),
    "altered": model(tensor((2,), (1,), b"](" + text("x") + b"K\x00K\x02\x85K\x01\x85eb")),
    "shown": model(doubling(40, LISTS)),
    "shown reference": b"\x80\x02" + doubling(40, LISTS) + b"Q.",
    "hashed": b"\x80\x02}" + doubling(40, TUPLES) + b"Ns.",
    "hashed set": b"\x80\x02cbuiltins\nfrozenset\n]" + doubling(40, TUPLES) + b"a\x85R.",
    "memo": b"\x80\x02Nr\xff\xff\xff\x7f.",
    "bytearray": b"\x80\x05\x96" + struct.pack("<Q", 1 << 33) + b"ab.",
    "stack": b"\x80\x02(N" + b"2" * 1000 + b"t.",
}


def zipped(path: Path, program: bytes, compression: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("archive/data.pkl", program)
        archive.writestr("archive/data/0", b"\0" * 64, zipfile.ZIP_STORED)
    return path


@pytest.mark.parametrize("name", PROGRAMS)
def test_torch_files(name: str, tmp_path: Path) -> None:
    path = zipped(tmp_path / "f.pt", PROGRAMS[name])
    with pytest.raises(ValueError, match=r"f\.pt") as caught:
        fairseq_file.read_tensors(path)
    assert len(str(caught.value)) < 1000


def test_a_compressed_pickle_is_not_unpacked(tmp_path: Path) -> None:
    path = zipped(tmp_path / "f.pt", model(tensor((4,), (1,))), zipfile.ZIP_DEFLATED)
    with pytest.raises(ValueError, match="compressed"):
        fairseq_file.read_tensors(path)


def test_tensors_may_share_memory(tmp_path: Path) -> None:
    found = fairseq_file.read_tensors(zipped(tmp_path / "f.pt", model(tensor((2, 16), (0, 1)))))
    assert found["w"].shape == (2, 16)


@pytest.mark.parametrize(
    "value",
    [
        *(BOMB + "]", "[" * 5000 + "]" * 5000, "9" * 10**5, "1" + ":1" * 10**4, "!!timestamp x", "!!bool x"),
        *("!!int ''", "&a [*a]", "!!python/object/apply:os.system [x]"),
    ],
)
def test_yaml(value: str, tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    for content, read in (
        (f"lr: {value}\n", read_config),
        (f"format: {value}\noptions: {{}}\n", lambda path: checkpoint.read_options(path.parent)),
        (f"format: 1\noptions: {value}\n", lambda path: checkpoint.read_options(path.parent)),
    ):
        path.write_text(content)
        with pytest.raises(ValueError, match=r"config\.yaml") as caught:
            read(path)
        assert len(str(caught.value)) < 2000


def test_landmarks(tmp_path: Path) -> None:
    header = b"{'descr': '<f8', 'fortran_order': False, 'shape': (999999999, 4, 2), }\n"
    huge = tmp_path / "a.npy"
    huge.write_bytes(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + bytes(64))
    broken = tmp_path / "b.npy"
    broken.write_bytes(b"\x93NUMPY\x01\x00" + struct.pack("<H", 3) + b"{'(" + bytes(64))
    bomb = tmp_path / "c.npz"
    with (
        zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
        archive.open("a.npy", "w", force_zip64=True) as file,
    ):
        for _ in range(520):
            file.write(bytes(1 << 20))
    deep = tmp_path / "d.json"
    deep.write_text("[" * 10**5)
    for path in (huge, broken, bomb, deep):
        with pytest.raises(_landmark_files.LandmarkError, match=path.name):
            _landmark_files.read(path)
