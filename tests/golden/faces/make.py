"""Write carphone_key_points.npy: python tests/golden/faces/make.py carphone_pristine.mp4."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from preparation.faces.video import frame_chunks

FULL_RANGE, MIN_SCORE, NUM_KEY_POINTS = 1, 0.5, 4


def main(video: Path, out: Path) -> None:
    import mediapipe

    detector = mediapipe.solutions.face_detection.FaceDetection(
        model_selection=FULL_RANGE, min_detection_confidence=MIN_SCORE
    )
    found = []
    for frames in frame_chunks(video):
        size = np.array(frames.shape[2:0:-1])
        for frame in frames:
            (face,) = detector.process(frame).detections
            points = face.location_data.relative_keypoints[:NUM_KEY_POINTS]
            found.append([(point.x, point.y) * size for point in points])
    np.save(out, np.trunc(found).astype(np.int16))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(__file__).with_name("carphone_key_points.npy"))
