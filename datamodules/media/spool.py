"""What is read of a long recording waits here: in memory, or from a limit on in an unnamed file.

Letters: T frames, N values.
"""

from __future__ import annotations

import mmap
import os
import tempfile
from collections.abc import Iterator
from typing import BinaryIO

import numpy as np

MEMORY_BYTES = 64 * 2**20
"""Held in memory: seven minutes of mouths, or 17 of sound."""
READ_FRAMES = 256
"""Frames of a file looked at at a time."""


class Spool:
    """Grows by arrays of one dtype and, but for their first axis, one shape."""

    def __init__(self) -> None:
        self.length = 0
        """Of the first axis so far."""
        self._shape: tuple[int, ...] = ()
        self._dtype = np.dtype(np.float32)
        self._memory = bytearray()
        self._file: BinaryIO | None = None

    def add(self, values: np.ndarray) -> None:
        """values: [n, ...]."""
        self._shape, self._dtype = values.shape[1:], values.dtype
        self.length += len(values)
        if self._file is None and len(self._memory) + values.nbytes > MEMORY_BYTES:
            # It lives as long as its views do.
            self._file = tempfile.TemporaryFile(prefix="recording-")  # noqa: SIM115
            self._file.write(self._memory)
            self._memory = bytearray()
        data = np.ascontiguousarray(values)
        if self._file is None:
            self._memory += memoryview(data.reshape(-1).view(np.uint8))
        else:
            self._file.write(data)

    def values(self) -> np.ndarray:
        """Everything, [N, ...]; nothing may be added afterwards. Of a file it is a map, which the system may
        drop from memory and read again."""
        shape = (self.length, *self._shape)
        if not self.length:
            return np.zeros(shape, self._dtype)
        if self._file is None:
            return np.frombuffer(self._memory, self._dtype).reshape(shape)
        self._file.flush()
        return np.memmap(self._file, self._dtype, "r+", shape=shape).view(np.ndarray)

    def frames(self, start: int, stop: int) -> np.ndarray | FramesOnDisk:
        """Frames `[start, stop)`; nothing may be added afterwards."""
        if self._file is None:
            return self.values()[start:stop]
        self._file.flush()
        return FramesOnDisk(self._file, start, (stop - start, *self._shape), self._dtype)


def release(values: np.ndarray) -> None:
    """What was looked at of a map counts as memory no longer; it is read again when it is asked for."""
    base = values
    while base is not None and not isinstance(base, mmap.mmap):
        base = getattr(base, "base", None)
    if base is not None:
        base.madvise(mmap.MADV_DONTNEED)


class FramesOnDisk:
    """Frames of a file, like an array [T, H, W]: every slice is read when it is asked for."""

    def __init__(self, file: BinaryIO, first: int, shape: tuple[int, ...], dtype: np.dtype) -> None:
        self.shape, self.dtype = shape, dtype
        self._file, self._first = file, first
        self._frame_bytes = int(np.prod(shape[1:])) * dtype.itemsize

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, key: int | slice) -> np.ndarray:
        if isinstance(key, slice):
            start, stop, step = key.indices(len(self))
            if step != 1:
                raise ValueError("expected a slice without a step")
            return self._read(start, max(start, stop))
        if not -len(self) <= key < len(self):
            raise IndexError(key)
        place = int(key) % len(self)
        return self._read(place, place + 1)[0]

    def __iter__(self) -> Iterator[np.ndarray]:
        for start in range(0, len(self), READ_FRAMES):
            yield from self[start : start + READ_FRAMES]

    def __array__(self, dtype: object = None, copy: bool | None = None) -> np.ndarray:
        return self[:].astype(dtype or self.dtype, copy=False)

    def _read(self, start: int, stop: int) -> np.ndarray:
        # Not mapped: what was looked at of a map counts as memory of this process.
        wanted, found = (stop - start) * self._frame_bytes, bytearray()
        offset = (self._first + start) * self._frame_bytes
        while len(found) < wanted:
            part = os.pread(self._file.fileno(), wanted - len(found), offset + len(found))
            if not part:
                raise OSError("a temporary file is shorter than what was written to it")
            found += part
        return np.frombuffer(found, self.dtype).reshape(stop - start, *self.shape[1:])
