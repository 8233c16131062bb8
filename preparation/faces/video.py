"""Reading recordings as they come: any container, size and frame rate, as RGB frames at 25 per second.

Letters: T video frames, H and W pixels of the picture as it is shown.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np

from datamodules.media.pictures import at_25_fps, decoded
from datamodules.media.pixels import ToRgb
from preparation.faces.views import Converters, View

CHUNK_BYTES = 24 * 2**20
"""RGB frames held at once: 4 of 1080p. Larger pieces of memory are given back each time, which is slow."""
MAX_CHUNK_FRAMES = 100


def views(path: Path, notes: list[str] | None = None) -> Iterator[View]:
    """The video at 25 fps, as `frame_chunks` gives it, nothing converted yet; a picture that lasts longer is
    given again.

    Raises:
        MediaError: as `frame_chunks`.
    """
    converters = None
    for picture in at_25_fps(decoded(path, notes=notes)):
        converters = converters or Converters(picture.aspect)
        yield picture.pixels(partial(View, converters))


def frame_chunks(path: Path, notes: list[str] | None = None) -> Iterator[np.ndarray]:
    """The video at 25 fps, as it is shown: uint8 [n, H, W, 3] RGB at full range, some frames at a time.

    Frames are placed by their timestamps (nearest frame, the first is time zero), the picture is turned as
    its display matrix says, its pixels are made square, and all frames get the size of the first. Memory does
    not grow with the length. What cannot be decoded is skipped. notes: what was gone over is told there, a
    video that is cut off too.

    Raises:
        MediaError: missing, broken, no video; truncated, without `notes`.
    """
    chunk: list[np.ndarray] = []
    to_rgb = None
    for picture in at_25_fps(decoded(path, notes=notes)):
        to_rgb = to_rgb or ToRgb(picture.aspect, upright=True)
        chunk.append(picture.pixels(to_rgb))
        if len(chunk) >= min(MAX_CHUNK_FRAMES, max(1, CHUNK_BYTES // chunk[0].nbytes)):
            yield np.stack(chunk)
            chunk = []
    if chunk:
        yield np.stack(chunk)
