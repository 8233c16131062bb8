"""A video's picture as it is shown, turned into pixels only where and as far as it is looked at.

Letters: H and W pixels.
"""

from __future__ import annotations

from fractions import Fraction
from functools import cached_property

import av
import numpy as np

from datamodules.media.pixels import ToLuma, ToRgb, black, full_range, is_grey
from preparation.faces import mouth, tracking
from preparation.faces.mouth import CROP_SIDE, Placement
from preparation.faces.opencv import cv2
from preparation.faces.warp import warped


class Converters:
    """What the pictures of one video share."""

    def __init__(self, aspect: Fraction | None) -> None:
        self.to_rgb = ToRgb(aspect, upright=True)
        self.to_luma = ToLuma(aspect)


class View:
    """One decoded frame."""

    def __init__(self, converters: Converters, frame: av.VideoFrame) -> None:
        self._frame = frame
        self._to_rgb = converters.to_rgb
        self._luma = converters.to_luma(frame)

    @property
    def nbytes(self) -> int:
        """Of the frame as it was decoded."""
        return sum(plane.buffer_size for plane in self._frame.planes)

    def rgb(self) -> np.ndarray:
        """uint8 [H, W, 3] at full range."""
        return self._to_rgb(self._frame)

    def brightness(self) -> np.ndarray:
        """uint8 [H, W]: something like grey, the same for all pictures of a video."""
        return cv2.cvtColor(self.rgb(), cv2.COLOR_RGB2GRAY) if self._luma is None else self._luma

    @cached_property
    def thumbnail(self) -> np.ndarray:
        """Grey uint8 [16, 16], to find cuts in."""
        if self._luma is None:
            return tracking.thumbnail(self.rgb())
        return full_range(tracking.thumbnail(self._luma), self._frame)

    def cut(self, placement: Placement) -> np.ndarray:
        """The mouth, as `mouth.cut` gives it of RGB, within rounding."""
        if self._luma is None or not is_grey(self._frame):
            return mouth.cut(self.rgb(), placement)
        luma = warped(self._luma, placement.matrix, CROP_SIDE, outside=black(self._frame))
        return full_range(luma, self._frame)
