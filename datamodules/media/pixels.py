"""From decoded frames to arrays of pixels at full range: RGB as it is shown, or grey.

Letters: H and W pixels.
"""

from __future__ import annotations

from fractions import Fraction

import av
import numpy as np
from av.sidedata.sidedata import Type as SideData
from av.video.reformatter import ColorRange, Colorspace, VideoReformatter

LUMA_WEIGHTS = np.array([0.299, 0.587, 0.114], dtype=np.float32)
ASPECTS = (0.2, 5.0)
"""A pixel's width to its height; what lies outside is a mistake in the file."""


class ToRgb:
    """Turns decoded frames into RGB pictures, uint8 [H, W, 3]; all get the size of the first.

    aspect: width of a pixel to its height, which is made square. upright: turn the picture as its display
    matrix says.
    """

    def __init__(self, aspect: Fraction | None = None, upright: bool = False) -> None:
        # One for the whole clip: setting a reformatter up costs several times the conversion of a frame.
        self._reformatter = VideoReformatter()
        self._aspect = aspect if aspect and ASPECTS[0] < aspect < ASPECTS[1] else 1
        self._size: tuple[int, int] | None = None
        self._turn = None if upright else (False, False, False)

    def __call__(self, frame: av.VideoFrame) -> np.ndarray:
        if self._size is None:
            self._size = round(frame.width * self._aspect), frame.height
        converted = self._reformatter.reformat(
            frame,
            width=self._size[0],
            height=self._size[1],
            format="rgb24",
            src_colorspace=Colorspace.ITU709 if frame.colorspace == Colorspace.ITU709 else Colorspace.ITU601,
            src_color_range=ColorRange.JPEG if _is_full_range(frame) else ColorRange.MPEG,
            dst_color_range=ColorRange.JPEG,
            threads=1,
        )
        if self._turn is None:
            # Asked of one frame only: a frame that was asked for its side data lives until the next garbage
            # collection, and hundreds of them fill the memory.
            self._turn = _turn(frame)
        swapped, mirror_x, mirror_y = self._turn
        picture = _view(converted)
        picture = picture.transpose(1, 0, 2) if swapped else picture
        return picture[:: -1 if mirror_y else 1, :: -1 if mirror_x else 1]


class ToGrey:
    """Turns decoded frames into grey, uint8 [H, W]."""

    def __init__(self) -> None:
        self._to_rgb = ToRgb()

    def __call__(self, frame: av.VideoFrame) -> np.ndarray:
        return grey(self._to_rgb(frame))


def grey(picture: np.ndarray) -> np.ndarray:
    """uint8 [H, W] of RGB uint8 [H, W, 3]."""
    return (picture @ LUMA_WEIGHTS + 0.5).astype(np.uint8)


def _is_full_range(frame: av.VideoFrame) -> bool:
    return frame.format.name.startswith("yuvj") or frame.color_range == ColorRange.JPEG


def _view(frame: av.VideoFrame) -> np.ndarray:
    """The pixels of an RGB frame, where they are."""
    plane = frame.planes[0]
    rows = np.frombuffer(plane, dtype=np.uint8).reshape(frame.height, plane.line_size)
    return rows[:, : frame.width * 3].reshape(frame.height, frame.width, 3)


def _turn(frame: av.VideoFrame) -> tuple[bool, bool, bool]:
    """Whether rows and columns are to be swapped, and then x and y mirrored, for an upright picture.

    Phones record portrait as landscape, and a display matrix says how to turn it.
    """
    side_data = frame.side_data.get(SideData.DISPLAYMATRIX)
    if side_data is None:
        return False, False, False
    # Shown x = a x + c y and y = b x + d y.
    (a, b, _), (c, d, _), _ = np.frombuffer(bytes(side_data), dtype=np.int32).reshape(3, 3).tolist()
    return (True, c < 0, b < 0) if abs(b) > abs(a) else (False, a < 0, d < 0)
