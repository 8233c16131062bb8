"""The detector blazeface: its network, what it makes of the network's numbers, and faces that are lost."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from preparation.faces.detectors import DetectorOptions, build
from preparation.faces.detectors._blazeface_network import NUM_VALUES, SIDE, anchor_middles, load
from preparation.faces.detectors.blazeface import MIN_SCORE, BlazeFaceDetector

VIDEO = Path("a.mp4")
Answer = Callable[[Tensor], list[tuple[int, float, list[float]]]]
"""From one square to anchors, logits and values."""


class Fake(nn.Module):
    """Says of each square what a test wants it to."""

    def __init__(self, answer: Answer) -> None:
        super().__init__()
        self.answer = answer

    def forward(self, squares: Tensor) -> tuple[Tensor, Tensor]:
        num_anchors = len(anchor_middles())
        logits = torch.full((len(squares), num_anchors), -9.0)
        values = torch.zeros(len(squares), num_anchors, NUM_VALUES)
        for n, square in enumerate(squares):
            for anchor, logit, numbers in self.answer(square):
                logits[n, anchor] = logit
                values[n, anchor] = torch.tensor(numbers)
        return logits, values


def detector_that(answer: Answer) -> BlazeFaceDetector:
    detector = BlazeFaceDetector(Fake(answer))
    detector.begin(VIDEO, VIDEO)
    return detector


def face_values(shift: float = 0.0, size: float = 20.0) -> list[float]:
    """A box around the anchor's middle, and key points at (1, 2), (3, 4), ... from it, all shifted."""
    return [shift, shift, size, size, *(shift + k for k in range(1, 13))]


def test_the_network_has_all_its_weights() -> None:
    network = load()
    logits, values = network(torch.zeros(2, 3, SIDE, SIDE))
    assert (logits.shape, values.shape) == ((2, 48 * 48), (2, 48 * 48, 16))
    assert not any(parameter.requires_grad for parameter in network.parameters())
    torch.testing.assert_close(logits[0], logits[1])


def test_nothing_is_no_face() -> None:
    detector = build(DetectorOptions())
    detector.begin(VIDEO, VIDEO)
    noise = np.random.default_rng(0).integers(0, 256, (2, 90, 120, 3), dtype=np.uint8)
    assert detector.detect(np.concatenate([noise, np.zeros_like(noise)])) == [[], [], [], []]


def test_places_are_those_of_the_picture() -> None:
    """640x360 pixels are shrunk to 192x108, with 42 rows of border above."""
    detector = detector_that(lambda square: [(48 * 24 + 12, 3.0, face_values())])
    ((face,),) = detector.detect(np.zeros((1, 360, 640, 3), np.uint8))
    middle = (anchor_middles()[48 * 24 + 12] - (0, 42)) * 640 / SIDE
    np.testing.assert_allclose(face.centre, middle)
    np.testing.assert_allclose(face.points, middle + np.arange(1, 9).reshape(4, 2) * 640 / SIDE)
    np.testing.assert_allclose(face.box[2:] - face.box[:2], 20 * 640 / SIDE)
    assert face.score == pytest.approx(1 / (1 + np.exp(-3.0)))


def test_anchors_that_agree_are_averaged_and_others_are_other_faces() -> None:
    anchors = anchor_middles()
    one, other, far = 48 * 10 + 10, 48 * 10 + 11, 48 * 40 + 40
    below = float(np.log(MIN_SCORE / (1 - MIN_SCORE))) - 0.1
    said = [(one, 2.0, face_values()), (other, 0.5, face_values()), (far, 1.0, face_values())]
    detector = detector_that(lambda square: [*said, (48 * 30, below, face_values())])
    ((first, second),) = detector.detect(np.zeros((1, SIDE, SIDE, 3), np.uint8))
    weights = 1 / (1 + np.exp(-np.array([2.0, 0.5])))
    np.testing.assert_allclose(first.centre, weights @ anchors[[one, other]] / weights.sum(), rtol=1e-6)
    np.testing.assert_allclose(second.centre, anchors[far])
    assert first.score == pytest.approx(weights[0])


def test_a_lost_face_is_looked_for_from_near_where_it_was() -> None:
    """Seen in the first frame only, then from near, then not at all."""
    looks: list[str] = []
    kinds = iter(["whole"] * 3 + ["bordered"] * 2 + ["near"] * 2)

    def answer(square: Tensor) -> list[tuple[int, float, list[float]]]:
        looks.append(next(kinds))
        middle = 48 * 24 + 24
        if looks == ["whole"]:
            return [(middle, 1.0, face_values())]
        return [(middle, 1.0, face_values(size=64.0))] if looks.count("near") == 1 else []

    detector = detector_that(answer)
    found = detector.detect(np.zeros((3, SIDE, SIDE, 3), np.uint8))
    assert [len(faces) for faces in found] == [1, 1, 0]
    np.testing.assert_allclose(found[1][0].centre, found[0][0].centre, atol=1.5)
    np.testing.assert_allclose(found[1][0].box[2:] - found[1][0].box[:2], 20, atol=0.1)
    assert list(kinds) == []


def test_another_video_begins_without_the_faces_of_the_last() -> None:
    answers = iter([[(48 * 24 + 24, 1.0, face_values())], [], []])  # whole; whole and with a border
    detector = detector_that(lambda square: next(answers))
    assert len(detector.detect(np.zeros((1, SIDE, SIDE, 3), np.uint8))[0]) == 1
    detector.begin(VIDEO, VIDEO)
    assert detector.detect(np.zeros((1, SIDE, SIDE, 3), np.uint8)) == [[]]
    assert list(answers) == []


def test_a_face_that_fills_the_picture_is_found_in_a_smaller_one() -> None:
    answers = iter([[], [(48 * 24 + 24, 1.0, face_values(size=40.0))]])
    detector = detector_that(lambda square: next(answers))
    ((face,),) = detector.detect(np.zeros((1, 100, SIDE, 3), np.uint8))
    np.testing.assert_allclose(face.box[2:] - face.box[:2], 80)
    middle = (anchor_middles()[48 * 24 + 24] - SIDE / 2) * 2 + (SIDE / 2, 50)
    np.testing.assert_allclose(face.centre, middle)
