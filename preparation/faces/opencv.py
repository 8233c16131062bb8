"""OpenCV, which comes with an extra of the package: `from preparation.faces.opencv import cv2`."""

from __future__ import annotations

from preparation.faces.options import MissingExtraError

try:
    import cv2
except ImportError as error:
    raise MissingExtraError(
        f"finding faces and cutting mouths needs OpenCV, which cannot be imported ({error}): "
        'pip install "llama-avsr[video]"'
    ) from error

__all__ = ["cv2"]
