"""From decoded frames to arrays of pixels at full range: RGB as it is shown, or grey.

Letters: H and W pixels.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from fractions import Fraction

import av
import numpy as np
from av.sidedata.sidedata import Type as SideData
from av.video.plane import VideoPlane
from av.video.reformatter import ColorRange, Colorspace, VideoReformatter

LUMA_WEIGHTS = np.array([0.299, 0.587, 0.114], dtype=np.float32)
ASPECTS = (0.2, 5.0)
"""A pixel's width to its height; what lies outside is a mistake in the file."""
LUMA_FIRST = re.compile(r"yuvj?4\d\dp|nv(12|16|21|24|42)|gray")
"""Formats whose first plane is luma, a byte a pixel."""
PLANAR = re.compile(r"yuvj?4\d\dp|gray")
"""The same, where the other planes, if any, are differences of colour."""
NO_COLOUR, HARDLY_ANY = b"\x80", b"\x7f\x80\x81"
"""Such differences."""
TO_FULL_RANGE = np.rint((np.arange(256) - 16) * 255 / 219).clip(0, 255).astype(np.uint8)
"""By limited-range luma."""
EXPANDED = TO_FULL_RANGE.tobytes()

Crop = Callable[[int, int], tuple[slice, slice]]
"""Told height and width; the rows and columns that are wanted."""


class ToRgb:
    """Turns decoded frames into RGB pictures, uint8 [H, W, 3]; all get the size of the first.

    aspect: width of a pixel to its height, which is made square. upright: turn the picture as its display
    matrix says.
    """

    def __init__(self, aspect: Fraction | None = None, upright: bool = False) -> None:
        # One for the whole clip: setting a reformatter up costs several times the conversion of a frame.
        self._reformatter = VideoReformatter()
        self._aspect = aspect if aspect and ASPECTS[0] < aspect < ASPECTS[1] else 1
        self.size: tuple[int, int] | None = None
        """[H, W] that pictures get."""
        self._turn = None if upright else (False, False, False)

    def __call__(self, frame: av.VideoFrame) -> np.ndarray:
        if self.size is None:
            self.size = frame.height, round(frame.width * self._aspect)
        converted = self._reformatter.reformat(
            frame,
            width=self.size[1],
            height=self.size[0],
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
        return _turned(_view(converted), self._turn)


class ToLuma:
    """Finds the luma of decoded frames, uint8 [H, W] upright, where it lies; see `is_grey` and `full_range`.

    None for frames whose pixels are not square, whose luma is not a byte a pixel, or whose size is not the
    first one's.
    """

    def __init__(self, aspect: Fraction | None = None) -> None:
        self._is_square = not aspect or aspect == 1
        self._size: tuple[int, int] | None = None

    def __call__(self, frame: av.VideoFrame) -> np.ndarray | None:
        size = frame.height, frame.width
        if self._size is None:
            self._size, self._turn = size, _turn(frame)
        if not self._is_square or size != self._size or not LUMA_FIRST.fullmatch(frame.format.name):
            return None
        plane = frame.planes[0]
        rows = np.frombuffer(plane, dtype=np.uint8).reshape(-1, plane.line_size)
        return _turned(rows[: frame.height, : frame.width], self._turn)


class ToGrey:
    """Turns decoded frames into grey, uint8 [H, W]; all get the size of the first.

    The luma of a picture without colours is read as it lies in the frame. Colours go through RGB, which
    cuts off what no screen can show: up to 30 levels of grey before a studio's blue screen.
    crop: asked once, for what is to be kept of every frame.
    """

    def __init__(self, crop: Crop | None = None) -> None:
        self._to_rgb = ToRgb()
        self._crop = crop
        self._size: tuple[int, int] | None = None
        self._kept = slice(None), slice(None)

    def __call__(self, frame: av.VideoFrame) -> np.ndarray:
        size = frame.height, frame.width
        if self._size is None:
            self._size = self._to_rgb.size = size
            if self._crop is not None:
                self._kept = self._crop(*size)
        if size == self._size and _is_colourless(frame):
            return _luma(frame, self._kept)
        return grey(self._to_rgb(frame)[self._kept])


def grey(picture: np.ndarray) -> np.ndarray:
    """uint8 [H, W] of RGB uint8 [H, W, 3]."""
    return (picture @ LUMA_WEIGHTS + 0.5).astype(np.uint8)


def is_grey(frame: av.VideoFrame) -> bool:
    """Whether the frame's luma is grey, but for its range: whether it is BT.601's."""
    return frame.colorspace != Colorspace.ITU709


def black(frame: av.VideoFrame) -> int:
    """The luma of black."""
    return 0 if _is_full_range(frame) else 16


def full_range(luma: np.ndarray, frame: av.VideoFrame) -> np.ndarray:
    """Luma of a frame as 0 (black) to 255 (white)."""
    return luma if _is_full_range(frame) else TO_FULL_RANGE[luma]


def _is_colourless(frame: av.VideoFrame) -> bool:
    if PLANAR.fullmatch(frame.format.name) is None:
        return False
    colours = (_pixels(plane).tobytes() for plane in frame.planes[1:])
    return all(c == NO_COLOUR * len(c) or not c.translate(None, HARDLY_ANY) for c in colours)


def _luma(frame: av.VideoFrame, kept: tuple[slice, slice]) -> np.ndarray:
    """A copy at full range: what keeps a decoder's own memory makes it ask for more."""
    luma = _pixels(frame.planes[0])[kept]
    values = luma.tobytes()
    if not _is_full_range(frame):
        values = values.translate(EXPANDED)
    return np.frombuffer(values, dtype=np.uint8).reshape(luma.shape)


def _is_full_range(frame: av.VideoFrame) -> bool:
    # ffmpeg takes grey for full range, whatever its file says.
    return frame.format.name.startswith(("yuvj", "gray")) or frame.color_range == ColorRange.JPEG


def _view(frame: av.VideoFrame) -> np.ndarray:
    """The pixels of an RGB frame, where they are."""
    return _pixels(frame.planes[0], 3).reshape(frame.height, frame.width, 3)


def _pixels(plane: VideoPlane, pixel_bytes: int = 1) -> np.ndarray:
    """uint8 [rows, bytes] of a plane, where it is, without what lies after the end of each row."""
    rows = np.frombuffer(plane, dtype=np.uint8).reshape(plane.height, plane.line_size)
    return rows[:, : plane.width * pixel_bytes]


def _turned(picture: np.ndarray, turn: tuple[bool, bool, bool]) -> np.ndarray:
    swapped, mirror_x, mirror_y = turn
    picture = picture.swapaxes(0, 1) if swapped else picture
    return picture[:: -1 if mirror_y else 1, :: -1 if mirror_x else 1]


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
