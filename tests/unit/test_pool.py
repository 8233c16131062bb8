"""Worker processes of the preparation."""

from __future__ import annotations

import ctypes
import resource

import numpy as np
import pytest

from preparation.pool import in_processes

PICTURES, BYTES = 200, 8 << 20


def faults(_: int) -> int:
    """Pages that the system had to bring while many pictures came and went."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(PICTURES):
        np.ones(BYTES, dtype=np.uint8)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallopt"), reason="this C library has no mallopt")
def test_the_memory_of_pictures_is_used_again() -> None:
    pages = PICTURES * BYTES // resource.getpagesize()
    (found, *_) = in_processes(faults, [0], 1)
    assert found < pages / 10
