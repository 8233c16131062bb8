"""A file inside a shard: a tar on disk, or at any address that fsspec opens.

Only its own bytes are read, and nothing is unpacked. Where it lies is told by the label file, and the header
in front of it has to agree.
"""

from __future__ import annotations

import functools
import io
import os
import tarfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

BLOCK_BYTES = 512
"""Of a tar: a header, and what files are filled up to."""
MAX_BYTES = 2**30
"""Of one file; a clip takes some ten kilobytes."""


@dataclass(frozen=True, order=True)
class Packed:
    """Stands where a `Path` does."""

    shard: str
    """Path, or an address such as s3://bucket/lrs3-00000.tar."""
    member: str
    """Name in the tar; "" for a file that is not there."""
    offset: int = 0
    """Of its first byte."""
    size: int = 0

    def __str__(self) -> str:
        return f"{self.shard}/{self.member}"

    @property
    def name(self) -> str:
        return PurePosixPath(self.member).name

    @property
    def suffix(self) -> str:
        return PurePosixPath(self.member).suffix

    def with_suffix(self, suffix: str) -> Packed:
        """The name alone; such a file is not there."""
        return Packed(self.shard, str(PurePosixPath(self.member or "-").with_suffix(suffix)))

    def exists(self) -> bool:
        return self.size > 0

    is_file = exists

    def read(self) -> bytes:
        """Raises OSError where the shard ends early, or holds something else in this place."""
        if not self.exists():
            raise FileNotFoundError(str(self))
        return _read(self)


def num_bytes(path: Path | Packed) -> int:
    return path.size if isinstance(path, Packed) else path.stat().st_size


def content(path: Path | Packed) -> bytes:
    return path.read() if isinstance(path, Packed) else path.read_bytes()


def readable(path: Path | Packed) -> io.BytesIO | str:
    """What `wave` and others open."""
    return io.BytesIO(path.read()) if isinstance(path, Packed) else str(path)


def check_address(address: str) -> None:
    """Raises ValueError where fsspec, as it is installed, opens no such addresses."""
    import fsspec

    try:
        fsspec.get_filesystem_class(address.partition("://")[0])
    except (ImportError, ValueError) as error:
        raise ValueError(f"{address}: cannot be opened ({error})") from None


@functools.lru_cache(maxsize=2)  # sound and picture of a clip are opened several times
def _read(packed: Packed) -> bytes:
    start, stop = packed.offset - BLOCK_BYTES, packed.offset + packed.size
    if "://" in packed.shard:
        import fsspec

        filesystem, path = fsspec.core.url_to_fs(packed.shard)
        found = filesystem.cat_file(path, start=start, end=stop)
    else:
        with open(packed.shard, "rb", buffering=0) as file:
            found = os.pread(file.fileno(), stop - start, start)
    if len(found) != stop - start:
        raise OSError(f"found {len(found)} bytes, expected {stop - start}: the shard is cut short")
    try:
        header = tarfile.TarInfo.frombuf(found[:BLOCK_BYTES], "utf-8", "surrogateescape")
    except tarfile.HeaderError as error:
        raise OSError(f"found no file there ({error}); pack the clips again") from None
    if (header.name, header.size, header.isreg()) != (packed.member, packed.size, True):
        raise OSError(f"found {header.name!r} of {header.size} bytes there; pack the clips again")
    return found[BLOCK_BYTES:]
