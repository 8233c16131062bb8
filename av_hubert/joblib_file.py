"""The centroids out of a k-means model that joblib or pickle stored, without running anything in the file.

joblib writes a pickle that is interrupted after each `NumpyArrayWrapper` by the array's bytes. Here the
wrapper is an inert record that takes those bytes off the file as its state arrives; everything else is read
as `av_hubert.safe_pickle` reads it.
"""

from __future__ import annotations

import io
import math
import pickle
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from av_hubert.safe_pickle import Inert, SafeUnpickler, UnsafePickleError

if TYPE_CHECKING:
    import numpy as np

MAX_BYTES = 1 << 30
"""A k-means model of 200 centroids has under a megabyte."""
COMPRESSIONS = {
    b"\x1f\x8b": "gzip",
    b"BZ": "bz2",
    b"\xfd7": "xz",
    b"\x04\x22": "lz4",
    b"x": "zlib",
    b"]\0": "lzma",
}
CENTERS = "cluster_centers_"
WRAPPER = "joblib.numpy_pickle.NumpyArrayWrapper"
BY_HAND = (
    "where you trust the file, load it with joblib there and save its centroids: "
    "numpy.savez('centroids.npz', centroids=model.cluster_centers_)"
)
_NUMBERS = re.compile(r"[biufc]\d+")


def cluster_centers(path: Path) -> np.ndarray:
    """The `cluster_centers_` [K, D] of a stored scikit-learn k-means model, of any of its versions.

    Raises:
        UnsafePickleError: the pickle names something that could run code. Nothing was run.
        ValueError: compressed, no pickle, or no k-means model in it.
    """
    if path.stat().st_size > MAX_BYTES:
        raise ValueError(f"{path}: found {path.stat().st_size} bytes, expected a k-means model; {BY_HAND}")
    content = path.read_bytes()
    for magic, name in COMPRESSIONS.items():
        if content.startswith(magic):
            raise ValueError(f"{path}: found a file compressed with {name}, expected a plain one; {BY_HAND}")
    try:
        model = _Unpickler(io.BytesIO(content)).load()
        return _centers(model)
    except UnsafePickleError as error:
        raise UnsafePickleError(f"{path}: refused: {error}") from None
    except Exception as error:  # a damaged pickle fails in every way there is
        reason = str(error)[:200] or type(error).__name__
        if isinstance(
            error, pickle.UnpicklingError | EOFError | UnicodeDecodeError | LookupError | TypeError
        ):
            reason = f"no readable pickle ({type(error).__name__}: {str(error)[:200]})"
        raise ValueError(
            f"{path}: found {reason}; expected .npz or .safetensors as `prepare_data.py units fit` writes "
            "them, or a scikit-learn k-means model stored by joblib"
        ) from error


class _Wrapper(Inert):
    """joblib's note that an array's bytes follow; takes them."""

    file: io.BytesIO
    array: np.ndarray | None = None

    def __setstate__(self, state: Any) -> None:
        super().__setstate__(state)
        dtype, shape = _dtype(state["dtype"]), tuple(state["shape"])
        if state.get("numpy_array_alignment_bytes") is not None:
            self.file.seek(self.file.read(1)[0], io.SEEK_CUR)
        self.array = _array(_taken(self.file, dtype, shape), dtype, shape, state["order"])


class _Unpickler(SafeUnpickler):
    def __init__(self, file: io.BytesIO) -> None:
        super().__init__(file)
        # BytesIO cannot be peeked into: the unpickler then reads no further than the pickle has come.
        self._wrapper = type("Inert", (_Wrapper,), {"qualified_name": WRAPPER, "file": file})

    def find_class(self, module: str, name: str) -> Any:
        return self._wrapper if f"{module}.{name}" == WRAPPER else super().find_class(module, name)


def _centers(model: Any) -> np.ndarray:
    state = model.state if isinstance(model, Inert) else model
    if not isinstance(state, dict) or CENTERS not in state:
        raise ValueError(f"{_named(model)} without {CENTERS}")
    centers = _restored(state[CENTERS])
    if centers is None or centers.ndim != 2 or centers.dtype.kind != "f":
        raise ValueError(f"{CENTERS} that is no table of numbers")
    return centers


def _restored(value: Any) -> np.ndarray | None:
    """An array out of joblib's or numpy's own record of it."""
    if isinstance(value, _Wrapper):
        return value.array
    name = value.qualified_name if isinstance(value, Inert) else ""
    if name.endswith(".multiarray._reconstruct") and isinstance(value.state, list | tuple):
        _, shape, dtype, is_fortran, content = value.state
        dtype = _dtype(dtype)
        return _array(_taken(io.BytesIO(content), dtype, shape), dtype, shape, "F" if is_fortran else "C")
    if name.endswith(".numeric._frombuffer"):
        content, dtype, shape, order = value.args
        return _array(_taken(io.BytesIO(content), _dtype(dtype), shape), _dtype(dtype), shape, order)
    return None


def _dtype(record: Any) -> np.dtype:
    """The number type that an inert `numpy.dtype` stands for."""
    import numpy as np

    name = record.args[0] if isinstance(record, Inert) and record.args else record
    if not isinstance(name, str) or not _NUMBERS.fullmatch(name):
        found = repr(name[:40]) if isinstance(name, str) else f"a {type(name).__name__}"
        raise ValueError(f"an array of {found}, which is not plain numbers")
    order = record.state[1] if record.state else "="
    return np.dtype(name).newbyteorder(order if order in ("<", ">") else "=")


def _taken(file: io.BytesIO, dtype: np.dtype, shape: tuple[int, ...]) -> bytes:
    size = math.prod(shape) * dtype.itemsize
    if min(shape, default=0) < 0 or size > MAX_BYTES:
        raise ValueError(f"an array of shape {list(shape)}")
    content = file.read(size)
    if len(content) != size:
        raise ValueError(f"a truncated file: {len(content)} of the {size} bytes of an array {list(shape)}")
    return content


def _array(content: bytes, dtype: np.dtype, shape: tuple[int, ...], order: str) -> np.ndarray:
    import numpy as np

    return np.frombuffer(content, dtype).reshape(shape, order="F" if order == "F" else "C")


def _named(model: Any) -> str:
    return model.qualified_name if isinstance(model, Inert) else f"a {type(model).__name__}"
