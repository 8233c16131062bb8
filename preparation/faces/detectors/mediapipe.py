"""Google's MediaPipe: a face detector, then a mesh of the face, from which the usual 68 landmarks are taken.

Letters: T frames, H and W pixels.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import numpy as np

from preparation.faces.detectors import Face, overlap
from preparation.faces.opencv import cv2
from preparation.faces.options import MissingExtraError
from preparation.faces.warp import warped

MIN_SCORE = 0.5
DETECTION_SIDE = 640
"""Pixels; larger pictures are shrunk for the detector, whose network sees 192x192."""
MESH_SIDE = 256
"""Pixels of the picture that a face's mesh is found in."""
MESH_MARGIN = 2.0
"""Side of that picture / side of the face's box."""
MAX_OVERLAP = 0.3
"""Intersection over union of two boxes that are one face found twice."""

# fmt: off
MESH_OF_68 = (
    162, 234, 93, 58, 172, 136, 149, 148, 152, 377, 378, 365, 397, 288, 323, 454, 389,  # jaw
    71, 63, 105, 66, 107, 336, 296, 334, 293, 301,  # eyebrows
    168, 197, 5, 4, 75, 97, 2, 326, 305,  # nose
    33, 160, 158, 133, 153, 144, 362, 385, 387, 263, 373, 380,  # eyes
    61, 39, 37, 0, 267, 269, 291, 405, 314, 17, 84, 181,  # lips, outside
    78, 82, 13, 312, 308, 317, 14, 87,  # lips, inside
)
# fmt: on
"""Vertices of the mesh that stand for the 68 landmarks."""

Finder = Callable[[np.ndarray, list[Face]], list[Face]]
"""From a picture and the faces of the last one."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """Face detector: mediapipe"""

    detector_model: Path | None = None
    """With --detector mediapipe: model file for its tasks (face_landmarker.task). Default: the bundled
    models."""


def build(detector_model: Path | None = None) -> MediapipeDetector:
    """The models that mediapipe 0.10.21 brings along, or the one in the file `detector_model`.

    A FaceLandmarker (.task) gives 68 landmarks, a FaceDetector (.tflite) the 4 key points.
    """
    mediapipe = _imported()
    if detector_model is not None:
        return MediapipeDetector(_task(mediapipe, detector_model))
    if not hasattr(mediapipe, "solutions"):
        raise ValueError(
            f"mediapipe {mediapipe.__version__} comes without models; give one by --detector-model "
            '(face_landmarker.task of its model page), or pip install "llama-avsr[mediapipe]" for the '
            "version that has them"
        )
    return MediapipeDetector(_Bundled(mediapipe))


def tiny(video: Path, num_frames: int) -> dict[str, object]:
    """For the contract tests: the models that the package brings along."""
    return {}


class MediapipeDetector:
    """Remembers no more than the faces of the last frame."""

    def __init__(self, find: Finder) -> None:
        self._find = find
        self.last: list[Face] = []

    def begin(self, video: Path, rel_path: Path) -> None:
        self.last = []

    def detect(self, frames: np.ndarray) -> list[list[Face]]:
        found = []
        for frame in frames:
            self.last = _distinct(self._find(frame, self.last))
            found.append(self.last)
        return found

    def end(self) -> None:
        pass


class _Bundled:
    """Boxes from the model for distant faces, or where it finds none the one for near faces; then
    meshes."""

    def __init__(self, mediapipe: ModuleType) -> None:
        solutions = mediapipe.solutions
        with _quiet():
            self._detectors = [
                solutions.face_detection.FaceDetection(
                    model_selection=selection, min_detection_confidence=MIN_SCORE
                )
                for selection in (1, 0)
            ]
            # The plain mesh: the one with refined lips moves 1.5 times as much from frame to frame.
            self._mesh = solutions.face_mesh.FaceMesh(
                static_image_mode=True, max_num_faces=1, refine_landmarks=False
            )
            # Starting goes on in threads until the first picture is through.
            for model in (*self._detectors, self._mesh):
                model.process(np.zeros((MESH_SIDE, MESH_SIDE, 3), dtype=np.uint8))
        self._is_warm = False

    def __call__(self, picture: np.ndarray, last: list[Face]) -> list[Face]:
        faces = [self._face(picture, box, score) for box, score in self._boxes(picture)]
        for face in last:
            # The detector loses faces now and then, small ones above all: look again where one was.
            if all(other is None or overlap(face.box, other.box) < MAX_OVERLAP for other in faces):
                faces.append(self._face(picture, face.box, MIN_SCORE))
        return [face for face in faces if face is not None]

    def _boxes(self, picture: np.ndarray) -> list[tuple[np.ndarray, float]]:
        small = _no_larger(picture, DETECTION_SIDE)
        size = np.tile(picture.shape[1::-1], 2)
        for detector in self._detectors:
            if found := detector.process(small).detections:
                break
        boxes = []
        for detection in found or ():
            box = detection.location_data.relative_bounding_box
            ends = np.array([box.xmin, box.ymin, box.xmin + box.width, box.ymin + box.height])
            boxes.append((ends * size, float(detection.score[0])))
        return boxes

    def _face(self, picture: np.ndarray, box: np.ndarray, score: float) -> Face | None:
        """The face in this box, if the mesh agrees that there is one."""
        side = (box[2:] - box[:2]).max() * MESH_MARGIN
        if side < 1:
            return None
        to_mesh = _square((box[:2] + box[2:]) / 2, side)
        near = warped(picture, to_mesh, MESH_SIDE)
        # The models are set up when the first face comes, and have something to say about it.
        with nullcontext() if self._is_warm else _quiet():
            meshes = self._mesh.process(near).multi_face_landmarks
        self._is_warm = True
        if not meshes:
            return None
        points = _points_of_68(meshes[0].landmark) * MESH_SIDE
        return Face.of_points((points - to_mesh[:, 2]) / to_mesh[0, 0], score)


class _Landmarker:
    """mediapipe's FaceLandmarker task."""

    def __init__(self, mediapipe: ModuleType, model: Path) -> None:
        tasks = mediapipe.tasks
        options = tasks.vision.FaceLandmarkerOptions(
            base_options=tasks.BaseOptions(model_asset_path=str(model)), num_faces=8
        )
        self._image = _image_of(mediapipe)
        self._task = tasks.vision.FaceLandmarker.create_from_options(options)

    def __call__(self, picture: np.ndarray, last: list[Face]) -> list[Face]:
        size = np.array(picture.shape[1::-1])
        found = self._task.detect(self._image(picture)).face_landmarks
        return [Face.of_points(_points_of_68(landmarks) * size) for landmarks in found]


class _KeyPoints:
    """mediapipe's FaceDetector task: 4 key points."""

    def __init__(self, mediapipe: ModuleType, model: Path) -> None:
        tasks = mediapipe.tasks
        options = tasks.vision.FaceDetectorOptions(
            base_options=tasks.BaseOptions(model_asset_path=str(model)), min_detection_confidence=MIN_SCORE
        )
        self._image = _image_of(mediapipe)
        self._task = tasks.vision.FaceDetector.create_from_options(options)

    def __call__(self, picture: np.ndarray, last: list[Face]) -> list[Face]:
        size = np.array(picture.shape[1::-1])
        faces = []
        for found in self._task.detect(self._image(picture)).detections:
            box = found.bounding_box
            points = np.array([(point.x, point.y) for point in found.keypoints[:4]]) * size
            ends = [box.origin_x, box.origin_y, box.origin_x + box.width, box.origin_y + box.height]
            faces.append(Face(np.array(ends, dtype=np.float64), points, found.categories[0].score))
        return faces


def _task(mediapipe: ModuleType, model: Path) -> Finder:
    if not model.is_file():
        raise ValueError(f"{model}: no such file; expected a model for --detector-model")
    kind = _KeyPoints if model.suffix == ".tflite" else _Landmarker
    try:
        with _quiet():
            return kind(mediapipe, model)
    except (RuntimeError, ValueError) as error:
        raise ValueError(
            f"{model}: mediapipe cannot use this model; expected a FaceLandmarker (face_landmarker.task) or "
            f"a FaceDetector (blaze_face_short_range.tflite) ({str(error).splitlines()[0]})"
        ) from error


def _image_of(mediapipe: ModuleType) -> Callable[[np.ndarray], object]:
    return lambda picture: mediapipe.Image(
        image_format=mediapipe.ImageFormat.SRGB, data=np.ascontiguousarray(picture)
    )


def _points_of_68(landmarks: object) -> np.ndarray:
    """float [68, 2], parts of the picture's width and height."""
    return np.array([(landmarks[i].x, landmarks[i].y) for i in MESH_OF_68])


def _square(centre: np.ndarray, side: float) -> np.ndarray:
    """The matrix [2, 3] that scales the square around `centre` to the mesh's picture."""
    scale = MESH_SIDE / side
    shift = MESH_SIDE / 2 - scale * centre
    return np.array([[scale, 0, shift[0]], [0, scale, shift[1]]])


def _no_larger(picture: np.ndarray, side: int) -> np.ndarray:
    height, width = picture.shape[:2]
    scale = side / max(height, width)
    if scale >= 1:
        return picture
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return cv2.resize(picture, size, interpolation=cv2.INTER_AREA)


def _distinct(faces: list[Face]) -> list[Face]:
    """Without those that overlap a surer one."""
    kept: list[Face] = []
    for face in sorted(faces, key=lambda face: -face.score):
        if all(overlap(face.box, other.box) < MAX_OVERLAP for other in kept):
            kept.append(face)
    return kept


@contextmanager
def _quiet() -> Iterator[None]:
    """Keeps what native libraries say when a model starts off standard error; errors are raised
    anyway."""
    sys.stderr.flush()
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def _imported() -> ModuleType:
    # What its libraries say about themselves on standard error is of no use to a user.
    os.environ.setdefault("GLOG_minloglevel", "2")
    try:
        import mediapipe
    except ImportError as error:
        raise MissingExtraError(
            f"the detector mediapipe cannot be imported ({error}); pip install "
            '"llama-avsr[mediapipe]" in an environment of its own, or leave --detector out'
        ) from error
    return mediapipe
