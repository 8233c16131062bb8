"""Damage is noticed: checksums of a checkpoint's files, and numbers that are none.

`config.yaml` lists the SHA-256 of the files beside it, and its own last line holds that of the lines before.
Checkpoints of version 0.1 have neither.
"""

from __future__ import annotations

import functools
import hashlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

FILES = "files"
"""Key of `config.yaml`: name -> SHA-256."""
PIECE = 1 << 22
"""Bytes read at a time."""
_SEAL = re.compile(rb"# sha256 of the lines above: ([0-9a-f]{64})\n\Z")


def digest(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    status = path.stat()
    return _digest(path, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


@functools.lru_cache(maxsize=256)
def _digest(path: Path, *_: int) -> str:
    # Remembered while the file is the same: a checkpoint is checked when it is chosen and when it is read.
    found = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(PIECE):
            found.update(chunk)
    return found.hexdigest()


def sealed(text: str) -> bytes:
    """A config with the line that vouches for it."""
    content = text.encode()
    return content + f"# sha256 of the lines above: {hashlib.sha256(content).hexdigest()}\n".encode()


def unseal(path: Path, content: bytes) -> bytes:
    """The config without its last line. Raises ValueError where the two contradict each other.

    Without such a line it is of version 0.1, which is told by `check_listed` from one that is cut short.
    """
    match = _SEAL.search(content)
    if match is None:
        return content
    body = content[: match.start()]
    if hashlib.sha256(body).hexdigest() != match[1].decode():
        raise ValueError(
            f"{path}: damaged, its SHA-256 is not what its last line says; copy it again (if you have edited "
            f"the file, delete that line and the section `{FILES}:`)"
        )
    return body


def check_listed(path: Path, config: Mapping[str, Any], is_sealed: bool) -> dict[str, str]:
    """The checksums that a config lists. Raises ValueError for one that has lost its last line."""
    listed = config.get(FILES)
    if listed is None and not is_sealed:
        return {}
    if not is_sealed or not isinstance(listed, dict):
        raise ValueError(f"{path}: damaged, the line with its SHA-256 is missing; copy it again")
    return {str(name): str(value) for name, value in listed.items()}


def check_file(path: Path, listed: Mapping[str, str]) -> None:
    """Raises ValueError for a file that is missing, empty, or not what its checksum says."""
    if not path.is_file():
        raise ValueError(f"{path}: damaged checkpoint, the file is missing; copy the folder again")
    if path.stat().st_size == 0:
        raise ValueError(f"{path}: damaged, the file is empty; copy the checkpoint again")
    if path.name in listed and digest(path) != listed[path.name]:
        raise ValueError(
            f"{path}: damaged, its SHA-256 is not what the checkpoint was written with; copy it again"
        )


def check_finite(state: Mapping[str, Tensor], where: str) -> None:
    """Raises ValueError naming tensors with infinities or NaN."""
    bad = [key for key, value in state.items() if value.is_floating_point() and not _is_finite(value)]
    if bad:
        rest = f" and {len(bad) - 3} more" if len(bad) > 3 else ""
        raise ValueError(
            f"{where}: found NaN or infinity in {', '.join(bad[:3])}{rest}; such weights are neither written "
            "nor used: resume from an earlier checkpoint, with a lower --lr if training diverged"
        )


def _is_finite(value: Tensor) -> bool:
    # Both ends are NaN where any value is, and no copy is made.
    return value.numel() == 0 or bool(torch.isfinite(torch.stack(torch.aminmax(value.detach()))).all())
