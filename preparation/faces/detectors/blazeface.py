"""BlazeFace, the face detector inside MediaPipe, with its full-range model, which comes with this package and
runs in PyTorch. Its key points are those that auto-avsr cuts mouths by.

Letters: T frames, H and W pixels, N looks, A anchors.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from preparation.faces.detectors import Face, overlap
from preparation.faces.detectors._blazeface_network import SIDE, BlazeFace, anchor_middles, load
from preparation.faces.warp import warped

MIN_SCORE = 0.5
MAX_OVERLAP = 0.3
"""Intersection over union of two boxes that are one face found twice."""
NUM_KEY_POINTS = 4
"""Right eye, left eye, nose, mouth; the model's other two are ears."""
CLOSER_LOOK_MARGIN = 3.0
"""Side of the square in which a lost face is looked for again / side of the face's box."""
BORDER = 2.0
"""A face that fills the picture is found where the picture fills half of the square."""
FRAMES_AT_ONCE = 32


def build() -> BlazeFaceDetector:
    return BlazeFaceDetector(load())


def tiny(video: Path, num_frames: int) -> dict[str, object]:
    """For the contract tests: the model is small, and comes with the package."""
    return {}


class BlazeFaceDetector:
    """Remembers no more than the faces of the last frame."""

    def __init__(self, network: BlazeFace) -> None:
        self._network = network
        self._middles = anchor_middles()
        self.last: list[Face] = []

    def begin(self, video: Path, rel_path: Path) -> None:
        self.last = []

    def detect(self, frames: np.ndarray) -> list[list[Face]]:
        found = []
        for start in range(0, len(frames), FRAMES_AT_ONCE):
            some = list(frames[start : start + FRAMES_AT_ONCE])
            for frame, faces in zip(some, self._seen(some), strict=True):
                self.last = _distinct(faces + self._lost(frame, faces))
                found.append(self.last)
        return found

    def end(self) -> None:
        pass

    def _seen(self, frames: list[np.ndarray]) -> list[list[Face]]:
        """Faces in each frame; where there is none, those too near to be found in the frame as it is."""
        found = self._look(frames, [_whole(frame) for frame in frames])
        empty = [t for t, faces in enumerate(found) if not faces]
        near = self._look([frames[t] for t in empty], [_whole(frames[t], BORDER) for t in empty])
        for t, faces in zip(empty, near, strict=True):
            found[t] = faces
        return found

    def _lost(self, frame: np.ndarray, faces: list[Face]) -> list[Face]:
        """Faces of the last frame that are not among `faces`, where a closer look finds them in their place.

        The detector loses faces now and then, small ones above all.
        """
        lost = [face for face in self.last if _same(face, faces) is None]
        found = self._look([frame] * len(lost), [_around(face) for face in lost])
        again = (_same(face, candidates) for face, candidates in zip(lost, found, strict=True))
        return [face for face in again if face is not None]

    def _look(self, pictures: list[np.ndarray], matrices: list[np.ndarray]) -> list[list[Face]]:
        """Faces in the squares that `matrices` [N of 2, 3] map the pictures to, in pixels of the pictures."""
        if not pictures:
            return []
        pairs = zip(pictures, matrices, strict=True)
        squares = np.stack([warped(picture, matrix, SIDE) for picture, matrix in pairs])
        # As they lie in memory, channels last.
        batch = torch.from_numpy(squares).permute(0, 3, 1, 2).float().div_(127.5).sub_(1)
        with torch.inference_mode():
            logits, values = self._network(batch)
        scores, values = torch.sigmoid(logits).numpy(), values.double().numpy()
        return [
            [_moved_back(face, matrix) for face in self._faces(scores[n], values[n])]
            for n, matrix in enumerate(matrices)
        ]

    def _faces(self, scores: np.ndarray, values: np.ndarray) -> list[Face]:
        """Faces in one square: anchors that agree are averaged, weighted by how sure they are."""
        sure = np.flatnonzero(scores >= MIN_SCORE)
        sure = sure[np.argsort(-scores[sure], kind="stable")]
        middles = self._middles[sure]
        centre, size = values[sure, 0:2] + middles, values[sure, 2:4]
        boxes = np.concatenate([centre - size / 2, centre + size / 2], axis=1)
        points = values[sure, 4 : 4 + 2 * NUM_KEY_POINTS].reshape(-1, NUM_KEY_POINTS, 2) + middles[:, None]
        left, faces = list(range(len(sure))), []
        while left:
            same = [i for i in left if i == left[0] or overlap(boxes[i], boxes[left[0]]) > MAX_OVERLAP]
            weights = scores[sure[same]] / scores[sure[same]].sum()
            score = float(scores[sure[left[0]]])
            box, mean_points = weights @ boxes[same], np.tensordot(weights, points[same], axes=1)
            faces.append(Face(box, mean_points, score))
            left = [i for i in left if i not in same]
        return faces


def _whole(picture: np.ndarray, border: float = 1.0) -> np.ndarray:
    """The matrix [2, 3] from a picture [H, W, 3] to a square with all of it in the middle, black around it.

    border: side of the square / longer side of the picture.
    """
    height, width = picture.shape[:2]
    return _square(np.array([width, height]) / 2, border * max(height, width))


def _around(face: Face) -> np.ndarray:
    return _square(face.centre, CLOSER_LOOK_MARGIN * max(1.0, (face.box[2:] - face.box[:2]).max()))


def _square(centre: np.ndarray, side: float) -> np.ndarray:
    """The matrix [2, 3] that scales the square around `centre` to the network's picture."""
    scale = SIDE / side
    shift = SIDE / 2 - scale * centre
    return np.array([[scale, 0, shift[0]], [0, scale, shift[1]]])


def _moved_back(face: Face, matrix: np.ndarray) -> Face:
    scale, shift = matrix[0, 0], matrix[:, 2]
    box = (face.box - np.tile(shift, 2)) / scale
    return Face(box, (face.points - shift) / scale, face.score)


def _same(face: Face, others: list[Face]) -> Face | None:
    """The one of `others` that is in the place of `face`, if any."""
    best = max(others, key=lambda other: overlap(face.box, other.box), default=None)
    return best if best is not None and overlap(face.box, best.box) > MAX_OVERLAP else None


def _distinct(faces: list[Face]) -> list[Face]:
    """Without those that overlap a surer one."""
    kept: list[Face] = []
    for face in sorted(faces, key=lambda face: -face.score):
        if _same(face, kept) is None:
            kept.append(face)
    return kept
