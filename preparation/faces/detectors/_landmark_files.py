"""Reading landmark files of other programs; nothing in them is ever run.

Letters: T frames, P landmarks of a face (68, or 4 key points).
"""

from __future__ import annotations

import io
import json
import pickle
import struct
import tokenize
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from av_hubert.safe_pickle import Inert, SafeUnpickler, UnsafePickleError

SUFFIXES = (".npz", ".npy", ".json", ".pkl", ".pickle")
NUMBERS_OF_POINTS = (68, 4)
NUMBER_KINDS = ("f", "i", "u")


DAMAGE = (
    *(OSError, EOFError, ValueError, TypeError, LookupError, AttributeError, AssertionError, ArithmeticError),
    *(RecursionError, MemoryError, NotImplementedError),
    *(SyntaxError, tokenize.TokenError),  # numpy reads its headers as Python
    *(pickle.UnpicklingError, struct.error, zipfile.BadZipFile, zlib.error),
)
"""How reading a damaged file fails."""
MAX_BYTES = 1 << 29
"""Of an .npz unpacked: 68 points of five hours."""


class LandmarkError(ValueError):
    """A landmark file that cannot be used: which, and why."""


def read(path: Path) -> list[np.ndarray | None]:
    """One array float64 [P, 2] per frame (x, y in pixels), None where no face was found.

    .npz (the only array, or `landmarks`) and .npy: [T, P, 2], NaN where no face was found. .json: a list of T
    lists of [x, y], or null. .pkl: a list of T arrays or None, as auto-avsr publishes them.

    Raises:
        LandmarkError: broken, of another kind, or with something in it that could run code.
    """
    readers = {".npz": _npz, ".npy": _npy, ".json": _json}
    try:
        frames = list(readers.get(path.suffix.lower(), _pickle)(path))
        landmarks = [_points(points) for points in frames]
    except LandmarkError:
        raise
    except DAMAGE as error:
        raise LandmarkError(
            f"{path}: expected landmarks, a list of arrays [68, 2] or [4, 2] or nothing for each frame; "
            f"cannot be read ({type(error).__name__}: {str(error)[:200]})"
        ) from error
    numbers = {len(points) for points in landmarks if points is not None}
    if len(numbers) > 1:
        raise LandmarkError(
            f"{path}: found faces of {sorted(numbers)} landmarks, expected the same number in all frames"
        )
    return landmarks


def _npz(path: Path) -> np.ndarray:
    with zipfile.ZipFile(path) as archive:
        size = sum(entry.file_size for entry in archive.infolist())
        if size > MAX_BYTES:
            raise ValueError(f"found {size} bytes of numbers, expected {MAX_BYTES} at most")
    with np.load(path, allow_pickle=False) as file:
        name = "landmarks" if "landmarks" in file.files else file.files[0] if len(file.files) == 1 else None
        if name is None:
            raise ValueError(f"expected an array named landmarks, found {', '.join(file.files) or 'none'}")
        return file[name]


def _npy(path: Path) -> np.ndarray:
    # Mapped, it is held to the size of the file before memory is taken.
    return np.array(np.load(path, allow_pickle=False, mmap_mode="r"))


def _json(path: Path) -> list[Any]:
    return json.loads(path.read_text(encoding="utf-8"))


def _pickle(path: Path) -> list[Any]:
    with io.BytesIO(path.read_bytes()) as file:  # gives what is there, whatever the pickle asks for
        try:
            content = SafeUnpickler(file).load()
        except UnsafePickleError as error:
            raise LandmarkError(
                f"{path}: this pickle holds something else than landmarks, and it could run code. Nothing "
                f"was run; do not use this file ({error})"
            ) from None
        except (AttributeError, IndexError, AssertionError) as error:
            raise ValueError(f"no whole pickle: {error}") from error
    content = _array(content) if isinstance(content, Inert) else content
    if not isinstance(content, list | tuple | np.ndarray):
        raise ValueError(f"found {type(content).__name__}, expected a list")
    return list(content)


def _points(value: Any) -> np.ndarray | None:
    """One frame's landmarks, from an array or nested lists."""
    if value is None:
        return None
    if isinstance(value, Inert):
        value = _array(value)
    points = np.asarray(value, dtype=np.float64)
    if points.ndim != 2 or points.shape[0] not in NUMBERS_OF_POINTS or points.shape[1] != 2:
        raise ValueError(f"found an array of shape {points.shape}")
    return points if np.isfinite(points).all() else None


def _array(record: Inert) -> np.ndarray:
    """Rebuild a numpy array of numbers from what its pickle says: shape, type, bytes."""
    if record.qualified_name.endswith("._frombuffer"):
        data, kind, shape, order = record.args
    elif record.qualified_name.endswith("._reconstruct") and isinstance(record.state, tuple):
        _, shape, kind, is_fortran, data = record.state
        order = "F" if is_fortran else "C"
    else:
        raise ValueError(f"found {record.qualified_name}, expected an array")
    array = np.frombuffer(_bytes(data), dtype=_dtype(kind))
    return array.reshape(tuple(map(int, shape)), order=order if order in ("C", "F") else "C")


def _dtype(record: Any) -> np.dtype:
    if not (isinstance(record, Inert) and record.qualified_name == "numpy.dtype" and record.args):
        raise ValueError("found an array of an unknown type")
    dtype = np.dtype(str(record.args[0]))
    if dtype.kind not in NUMBER_KINDS:
        raise ValueError(f"found an array of {dtype}, expected numbers")
    byte_order = record.state[1] if isinstance(record.state, tuple) else "="
    return dtype.newbyteorder(byte_order if byte_order in ("<", ">") else "=")


def _bytes(value: Any) -> bytes:
    """Old protocols write bytes as text that stands for them, or in a call that makes them."""
    if isinstance(value, Inert) and value.args:
        value = value.args[0]
    if isinstance(value, str):
        return value.encode("latin1")
    if isinstance(value, bytes | bytearray):
        return bytes(value)
    raise ValueError("found an array without data")
