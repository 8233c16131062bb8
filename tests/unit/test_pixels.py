"""Grey out of luma is what RGB would give; colours, and what is no luma, go through RGB."""

import av
import numpy as np
import pytest

from datamodules.media import pixels
from datamodules.media.pixels import ToGrey, ToRgb, grey
from tests.unit.media_files import BT601, BT709, FULL_RANGE, LIMITED_RANGE

LUMA = ("yuv420p", "yuvj420p", "yuv422p", "yuv444p", "yuvj444p", "gray")
OTHERS = ("rgb24", "bgr24", "gbrp", "yuv420p10le", "gray16le", "yuyv422", "nv12")


def picture(height=60, width=72):
    """RGB without edges, so that the half resolution of colours does not tell."""
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    channels = (255 * y / (height - 1), 255 * x / (width - 1), 128 + 100 * np.sin(x / 15 + y / 20))
    return np.stack(channels, axis=-1).astype(np.uint8)


def frame(kind, color_range=LIMITED_RANGE, colorspace=BT601, shown=None):
    made = av.VideoFrame.from_ndarray(picture() if shown is None else shown, format="rgb24").reformat(
        format=kind,
        src_color_range=FULL_RANGE,
        dst_color_range=FULL_RANGE if kind.startswith("yuvj") else color_range,
        dst_colorspace=colorspace,
        threads=1,  # several now and then leave a row of 16-bit pixels undone
    )
    made.color_range, made.colorspace = color_range, colorspace
    return made


@pytest.mark.parametrize("colorspace", [BT601, BT709])
@pytest.mark.parametrize("color_range", [LIMITED_RANGE, FULL_RANGE])
@pytest.mark.parametrize("kind", LUMA)
def test_luma_without_colours_is_grey(monkeypatch, kind, color_range, colorspace):
    given = frame(kind, color_range, colorspace, picture()[..., :1].repeat(3, axis=-1))
    by_rgb = grey(ToRgb()(given))
    monkeypatch.setattr(pixels, "grey", None)
    found = ToGrey()(given)
    assert np.abs(found.astype(int) - by_rgb).max() <= 2
    assert found.std() > 20, "a picture"


@pytest.mark.parametrize("kind", [kind for kind in LUMA if kind != "gray"] + list(OTHERS))
def test_colours_go_through_rgb(kind):
    assert np.array_equal(ToGrey()(frame(kind)), grey(ToRgb()(frame(kind))))


def test_luma_beyond_its_range_is_black_or_white():
    planes = np.full((24, 16), 128, np.uint8)
    planes[:16] = np.arange(256).reshape(16, 16)
    found = ToGrey()(av.VideoFrame.from_ndarray(planes, format="yuv420p")).ravel()
    assert found[:17].max() == 0
    assert found[235:].min() == 255
    assert np.array_equal(found, np.sort(found))


@pytest.mark.parametrize("kind", ["yuv420p", "rgb24"])
def test_only_the_crop_is_converted(kind):
    asked = []

    def crop(height, width):
        asked.append((height, width))
        return slice(3, 43), slice(10, 60)

    to_grey = ToGrey(crop)
    whole = ToGrey()(frame(kind))
    for _ in range(2):
        assert np.array_equal(to_grey(frame(kind)), whole[3:43, 10:60])
    assert asked == [(60, 72)], "once a clip"


def test_frames_of_another_size_are_scaled_to_the_first():
    to_grey = ToGrey()
    first = to_grey(frame("yuv420p"))
    other = frame("yuv420p").reformat(width=144, height=120)
    assert np.abs(to_grey(other).astype(int) - first).mean() < 3
