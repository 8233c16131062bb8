"""A picture of a mouth clip, to see at a glance whether the mouth stays in the middle."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from datamodules.files import whole_or_nothing
from preparation.faces.crop import MouthTrack
from preparation.faces.opencv import cv2

COLUMNS, ROWS = 10, 4
CROSS_GREY = 255
CROSS_PIXELS = 3


def contact_sheet(frames: np.ndarray, columns: int = COLUMNS, rows: int = ROWS) -> np.ndarray:
    """Frames spread evenly over a clip [T, H, W], row by row, with a cross in the middle of each: uint8."""
    num_frames, height, width = frames.shape
    picked = np.linspace(0, num_frames - 1, min(num_frames, columns * rows)).round().astype(int)
    tiles = np.zeros((columns * rows, height, width), dtype=np.uint8)
    tiles[: len(picked)] = frames[picked]
    y, x = height // 2, width // 2
    tiles[: len(picked), y, x - CROSS_PIXELS : x + CROSS_PIXELS + 1] = CROSS_GREY
    tiles[: len(picked), y - CROSS_PIXELS : y + CROSS_PIXELS + 1, x] = CROSS_GREY
    sheet = tiles.reshape(rows, columns, height, width).transpose(0, 2, 1, 3)
    return sheet.reshape(rows * height, columns * width)


def write_sheet(path: Path, track: MouthTrack) -> None:
    """Write the contact sheet of a mouth clip as PNG."""
    _, encoded = cv2.imencode(".png", contact_sheet(track.frames))
    with whole_or_nothing(path) as temporary:
        temporary.write_bytes(encoded.tobytes())
