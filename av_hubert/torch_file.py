"""Read files written by `torch.save`, with tensors read on demand and nothing run.

Both layouts: the zip of torch 1.6 and later, and the older run of pickles followed by raw storages.
"""

from __future__ import annotations

import io
import math
import mmap
import pickle
import struct
import zipfile
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

import torch
from torch import Tensor

from av_hubert.safe_pickle import SafeUnpickler, StorageRef, TensorRef, UnsafePickleError

MAX_PICKLE_BYTES = 1 << 26
"""Of what describes the tensors: those of large checkpoints take a few MB."""
MAX_COPIES = 4
"""How many times a file's size its tensors may take: some share memory in it."""
FREE_BYTES = 1 << 20
LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
REMEDY = "expected a file written by torch.save (a fairseq checkpoint, usually named .pt)"


class TorchFile:
    """An open torch file. `content` is what was saved, with `TensorRef` in place of tensors.

    Raises UnsafePickleError where the pickle could run code, ValueError for any other unreadable file.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._file = self.path.open("rb")
        self._bytes = None
        try:
            # Mapped: tensors nobody asks for are never read. Copy on write: torch dislikes read-only memory.
            self._bytes = mmap.mmap(self._file.fileno(), 0, access=mmap.ACCESS_COPY)
            self.content, self._spans = self._read()
        except UnsafePickleError as error:
            self.close()
            raise UnsafePickleError(f"{self.path}: refused: {error}") from None
        except Exception as error:
            self.close()
            raise ValueError(f"{self.path}: found {_reason(error)}; {REMEDY}") from error

    def __enter__(self) -> TorchFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file. Tensors already read stay valid: they are copies."""
        if self._bytes is not None:
            self._bytes.close()
        self._file.close()

    def read(self, refs: Iterable[tuple[str, TensorRef]]) -> dict[str, Tensor]:
        """Read the named tensors. Those that shared memory when saved become separate copies.

        Raises ValueError for what is not a tensor or does not lie inside the file.
        """
        found, room = {}, MAX_COPIES * len(self._bytes) + FREE_BYTES
        for name, ref in refs:
            found[name] = self._tensor(name, ref)
            room -= found[name].nbytes
            if room < 0:
                raise ValueError(f"{self.path}: its tensors are many times the size of the file; {REMEDY}")
        return found

    def _tensor(self, name: str, ref: TensorRef) -> Tensor:
        if not isinstance(ref, TensorRef):
            found = repr(ref[:80]) if isinstance(ref, str) else f"a {type(ref).__name__}"
            raise ValueError(f"{self.path}: {name[:80]}: found {found}, expected a tensor")
        dtype, width = ref.storage.dtype, ref.storage.dtype.itemsize
        start, size = self._spans.get(ref.storage.key, (0, 0))
        if len(ref.shape) != len(ref.stride) or width * math.prod(n or 1 for n in ref.shape) > max(
            size, FREE_BYTES
        ):
            raise ValueError(
                f"{self.path}: tensor {name[:80]} {str(list(ref.shape))[:80]} does not fit the {size} bytes "
                "kept for it; the file is damaged, fetch it again"
            )
        if 0 in ref.shape and min(ref.shape) == 0:
            return torch.empty(ref.shape, dtype=dtype)
        numel = 1 + sum((n - 1) * stride for n, stride in zip(ref.shape, ref.stride, strict=True))
        if min((ref.offset, *ref.shape, *ref.stride)) < 0 or (ref.offset + numel) * width > size:
            raise ValueError(
                f"{self.path}: tensor {name} {list(ref.shape)} does not fit the {size} bytes kept for it; "
                "the file is damaged, fetch it again"
            )
        begin = start + ref.offset * width
        # Copied as bytes first: older files do not align their tensors.
        raw = torch.frombuffer(self._bytes, dtype=torch.uint8, offset=begin, count=numel * width).clone()
        return raw.view(dtype).as_strided(ref.shape, ref.stride).contiguous()

    def _read(self) -> tuple[Any, dict[str, tuple[int, int]]]:
        if zipfile.is_zipfile(self._file):
            return self._read_zip()
        return self._read_legacy()

    def _read_zip(self) -> tuple[Any, dict[str, tuple[int, int]]]:
        with zipfile.ZipFile(self._file) as archive:
            members = {info.filename: info for info in archive.infolist()}
            pickles = [name for name in members if name.endswith("/data.pkl")]
            if len(pickles) != 1:
                raise ValueError(f"a zip with {len(pickles)} data.pkl")
            root = pickles[0].removesuffix("data.pkl")
            order = f"{root}byteorder"
            if order in members and self._member(members[order]) != b"little":
                raise ValueError("tensors in big-endian byte order")
            content = SafeUnpickler(io.BytesIO(self._member(members[pickles[0]]))).load()
            spans = {
                name.removeprefix(f"{root}data/"): self._span(info)
                for name, info in members.items()
                if name.startswith(f"{root}data/")
            }
        return content, spans

    def _member(self, info: zipfile.ZipInfo) -> bytes:
        start, size = self._span(info)
        if size > MAX_PICKLE_BYTES:
            raise ValueError(f"{size} bytes of pickle, far more than a checkpoint has")
        return self._bytes[start : start + size]

    def _span(self, info: zipfile.ZipInfo) -> tuple[int, int]:
        if info.compress_type != zipfile.ZIP_STORED:
            raise ValueError(f"a compressed entry {info.filename[:80]}, which torch does not write")
        # The local header repeats the name and may pad it so that the data is aligned.
        name_size, extra_size = struct.unpack_from("<HH", self._bytes, info.header_offset + 26)
        start = info.header_offset + 30 + name_size + extra_size
        if start + info.file_size > len(self._bytes):
            raise ValueError(f"a truncated zip: {info.filename[:80]} ends past the file")
        return start, info.file_size

    def _read_legacy(self) -> tuple[Any, dict[str, tuple[int, int]]]:
        file = self._bytes  # gives what is there, whatever a pickle asks for
        if SafeUnpickler(file).load() != LEGACY_MAGIC:
            raise ValueError("a pickle that torch did not write")
        SafeUnpickler(file).load()  # protocol version
        system = SafeUnpickler(file).load()
        if isinstance(system, dict) and system.get("little_endian") is False:
            raise ValueError("tensors in big-endian byte order")
        recorder = _StorageRecorder(file)
        content = recorder.load()
        keys = SafeUnpickler(file).load()
        spans, position = {}, file.tell()
        for key in keys:
            (numel,) = struct.unpack_from("<q", self._bytes, position)
            num_bytes = numel * recorder.dtypes[key].itemsize
            spans[key] = (position + 8, num_bytes)
            position += 8 + num_bytes
            if num_bytes < 0 or position > len(self._bytes):
                raise ValueError("a truncated file: its tensors end past its end")
        return content, spans


class _StorageRecorder(SafeUnpickler):
    """Remembers each storage's dtype: the old layout gives their sizes in elements."""

    def __init__(self, file: BinaryIO) -> None:
        super().__init__(file)
        self.dtypes: dict[str, torch.dtype] = {}

    def persistent_load(self, pid: Any) -> StorageRef:
        storage = super().persistent_load(pid)
        self.dtypes[storage.key] = storage.dtype
        return storage


def _reason(error: Exception) -> str:
    if isinstance(error, pickle.UnpicklingError | EOFError | UnicodeDecodeError | KeyError | IndexError):
        return f"no readable pickle ({type(error).__name__}: {str(error)[:200]})"
    return str(error)[:200] or type(error).__name__
