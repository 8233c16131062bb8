"""Checkpoints cannot run code: real exploits, checked first to work on the ordinary unpickler."""

from __future__ import annotations

import argparse
import collections
import io
import os
import pickle
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from av_hubert import load_checkpoint
from av_hubert.safe_pickle import Inert, SafeUnpickler, UnsafePickleError, plain
from av_hubert.torch_file import TorchFile


class Call:
    """Pickles as a call of `function`."""

    def __init__(self, function, *arguments) -> None:
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


class WritesWhenRestored:
    """Runs code in `__setstate__`, not in a call."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __setstate__(self, state) -> None:
        state["path"].write_text("run")


def write_code(path: Path) -> str:
    return f"open({str(path)!r}, 'w').write('run')"


EXPLOITS = {
    "os.system": lambda path: Call(os.system, f"echo run > {path}"),
    "eval": lambda path: Call(eval, write_code(path)),
    "exec": lambda path: Call(exec, write_code(path)),
    "a method": lambda path: Call(Path.write_text, path, "run"),
    "open": lambda path: Call(open, str(path), "w"),
    "subprocess": lambda path: Call(subprocess.check_call, ["touch", str(path)]),
    "nested": lambda path: {"deep": [{"er": Call(os.system, f"touch {path}")}]},
}


def saved(content: object, path: Path, is_zip: bool) -> Path:
    torch.save(content, path, _use_new_zipfile_serialization=is_zip)
    return path


@pytest.mark.parametrize("is_zip", [True, False], ids=["zip", "legacy"])
@pytest.mark.parametrize("exploit", EXPLOITS)
def test_exploits_are_refused_and_do_nothing(exploit, is_zip, tmp_path):
    marker = tmp_path / "marker"
    bomb = EXPLOITS[exploit](marker)
    pickle.loads(pickle.dumps(bomb))
    assert marker.exists(), "the exploit itself works"
    marker.unlink()

    content = {"model": {"encoder.w": torch.zeros(2)}, "cfg": None, "last_optimizer_state": bomb}
    path = saved(content, tmp_path / "evil.pt", is_zip)
    with pytest.raises(
        UnsafePickleError, match=r"evil\.pt: refused: its pickle names [\w.]+\.\w+, which could run"
    ):
        load_checkpoint(path)
    assert not marker.exists()
    assert sorted(file.name for file in tmp_path.iterdir()) == ["evil.pt"]


@pytest.mark.parametrize(
    "program",
    [
        b"cos\nsystem\n(S'true'\ntR.",
        b"c__builtin__\neval\n(S'1'\ntR.",
        b"ccommands\ngetoutput\n(S'true'\ntR.",
        b"(S'true'\nios\nsystem\n.",
        b"(cos\nsystem\nS'true'\no.",
        b"cbuiltins\ngetattr\n.",
        b"cbuiltins\ntype\n.",
        b"cimportlib\nimport_module\n.",
        b"cencodings.rot_13\nCodec\n.",
        b"\x80\x04\x8c\x05torch\x8c\x09os.system\x93.",
        b"\x80\x04\x8c\x05torch\x8c\x12nn.__class__.mro_x\x93.",
        b"\x80\x04\x8c\x0bcollections\x8c\x08abc.sys_\x93.",
    ],
)
def test_handwritten_programs_are_refused(program):
    with pytest.raises(UnsafePickleError, match="could run code"):
        unpickled(program)


def test_restoring_foreign_state_runs_nothing(tmp_path):
    marker = tmp_path / "marker"
    data = pickle.dumps(WritesWhenRestored(marker))
    pickle.loads(data)
    assert marker.exists()
    marker.unlink()
    restored = unpickled(data)
    assert not marker.exists()
    assert isinstance(restored, Inert)
    assert "path" in restored.state


def test_foreign_modules_are_never_imported(tmp_path, monkeypatch):
    marker = tmp_path / "marker"
    (tmp_path / "module_that_acts.py").write_text(f"{write_code(marker)}\nclass Thing: pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    program = b"cmodule_that_acts\nThing\n(S'x'\ntR."
    restored = unpickled(program)
    assert repr(restored) == "<inert module_that_acts.Thing>"
    assert restored.args == ("x",)
    assert "module_that_acts" not in sys.modules
    assert not marker.exists()


def test_a_pickle_cannot_alter_the_builders():
    # BUILD with slot state sets attributes; on a shared function that would outlive the file.
    program = b"ctorch._utils\n_rebuild_tensor_v2\n(N(S'__defaults__'\nI1\ndtb."
    before = torch._utils._rebuild_tensor_v2.__defaults__
    with pytest.raises(ValueError, match="changes a _TensorBuilder"):
        unpickled(program)
    assert torch._utils._rebuild_tensor_v2.__defaults__ == before


def test_torchscript_is_not_handed_to_torch(tmp_path):
    scripted = tmp_path / "scripted.pt"
    with zipfile.ZipFile(scripted, "w") as archive:
        archive.writestr("x/data.pkl", pickle.dumps({"model": {}}))
        archive.writestr("x/constants.pkl", pickle.dumps(()))
    with pytest.raises(ValueError, match="no audio projection"):
        load_checkpoint(scripted)


def test_unknown_and_plain_content_survives():
    content = {
        "args": argparse.Namespace(dim=3, nested=argparse.Namespace(x=[1, (2, 3)])),
        "meters": collections.defaultdict(list, a=[1]),
        "scalar": np.float64(2.5),
        "set": {1, 2},
        "bytes": b"\xff",
        "order": collections.OrderedDict(a=1),
    }
    restored = unpickled(pickle.dumps(content, protocol=2))
    assert plain(restored["args"]) == {"dim": 3, "nested": {"x": [1, [2, 3]]}}
    assert restored["set"] == {1, 2}
    assert restored["order"] == {"a": 1}
    assert restored["meters"].items == [("a", [1])]
    assert repr(restored["bytes"]) == "<inert _codecs.encode>"
    # numpy 2 has renamed the module.
    assert repr(restored["scalar"]).replace("._core.", ".core.") == "<inert numpy.core.multiarray.scalar>"


def test_configuration_that_holds_itself():
    loop = {"a": 1}
    loop["self"] = loop
    assert plain(loop)["a"] == 1
    layered = [1]
    for _ in range(60):
        layered = [layered, layered]
    assert len(plain(layered)) == 2


@pytest.mark.parametrize("is_zip", [True, False], ids=["zip", "legacy"])
def test_tensors_of_every_kind(tmp_path, is_zip):
    base = torch.arange(24, dtype=torch.float32).view(4, 6)
    tensors = {
        "whole": base,
        "shared slice": base[1:3],
        "transposed": base.T,
        "expanded": torch.tensor([1.0]).expand(3),
        "parameter": torch.nn.Parameter(torch.ones(2)),
        "empty": torch.zeros(0, 3),
        "scalar": torch.tensor(7),
        **{
            str(dtype): torch.tensor([1, 0, 3]).to(dtype)
            for dtype in (torch.float16, torch.bfloat16, torch.float64, torch.uint8, torch.int32, torch.bool)
        },
    }
    with TorchFile(saved(tensors, tmp_path / "x.pt", is_zip)) as file:
        read = file.read(file.content.items())
    assert read.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert read[name].dtype == tensor.dtype
        assert torch.equal(read[name], tensor), name


def test_a_tensor_that_reaches_past_its_bytes(tmp_path):
    path = saved({"x": torch.ones(4)}, tmp_path / "x.pt", True)
    with TorchFile(path) as file:
        ref = file.content["x"]
        for shape, stride, offset in (
            ((5,), (1,), 0),
            ((4,), (1,), 1),
            ((2,), (-1,), 3),
            ((1 << 60,), (1,), 0),
        ):
            wrong = type(ref)(ref.storage, offset, shape, stride)
            with pytest.raises(ValueError, match=r"x\.pt: tensor w .* does not fit"):
                file.read([("w", wrong)])


def unpickled(data: bytes) -> object:
    return SafeUnpickler(io.BytesIO(data)).load()
