"""Faces between the frames that a detector is shown: followed, or else looked for."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest

from preparation.faces import tracking
from preparation.faces.detectors import Face
from preparation.faces.finding import Finder
from tests.faces import FakeDetector, key_points, moved

HEIGHT, WIDTH, SIDE = 200, 320, 80
"""Of the picture, and of a face in it."""
EVERY = 5
Place = tuple[float, float]


class MadeView:
    """As `views.View`, of a picture [H, W, 3] that says in its first pixel which frame it is."""

    def __init__(self, picture: np.ndarray) -> None:
        self._picture = picture
        self.thumbnail = tracking.thumbnail(picture)

    def rgb(self) -> np.ndarray:
        return self._picture

    def brightness(self) -> np.ndarray:
        return self._picture[..., 0]


class Told(FakeDetector):
    """Finds the faces it was told of, whatever frame it is shown."""

    def __init__(self, faces: Sequence[list[Face]]) -> None:
        super().__init__(list(faces))
        self.last: list[Face] = []
        self.shown: list[int] = []

    def detect(self, frames: np.ndarray) -> list[list[Face]]:
        numbers = [int(frame[0, 0, 0]) for frame in frames]
        self.shown += numbers
        return [self._faces[number] for number in numbers]


def blotches(height: int, width: int, seed: int) -> np.ndarray:
    """uint8 [height, width], something that can be followed."""
    rough = np.random.default_rng(seed).integers(0, 256, (height // 8 + 1, width // 8 + 1), dtype=np.uint8)
    return cv2.resize(rough, (width, height), interpolation=cv2.INTER_CUBIC)


def face(place: Place) -> Face:
    return Face.of_points(moved(key_points() - (129, 125), *place, scale=SIDE / 100))


def views(places: Sequence[Sequence[Place]], grounds: Sequence[int] | None = None) -> list[MadeView]:
    """Pictures of faces with their middles at `places`; grounds: the number of each frame's background."""
    made = []
    for number, middles in enumerate(places):
        ground = blotches(HEIGHT, WIDTH, 100 + (grounds[number] if grounds else 0)) // 2
        for which, (x, y) in enumerate(middles):
            shift = np.array([[1.0, 0, x - SIDE / 2], [0, 1, y - SIDE / 2]])
            one = cv2.warpAffine(blotches(SIDE, SIDE, which), shift, (WIDTH, HEIGHT))
            inside = cv2.warpAffine(np.ones((SIDE, SIDE), np.uint8), shift, (WIDTH, HEIGHT)) > 0
            ground[inside] = one[inside]
        ground[0, 0] = number
        made.append(MadeView(np.repeat(ground[..., None], 3, axis=2)))
    return made


def found(
    pictures: list[MadeView], detector: FakeDetector, every: int = EVERY, **others: bool
) -> list[list[Face]]:
    detector.begin(Path("a.mp4"), Path("a.mp4"))
    finder = Finder(detector, every, lambda face: True, **others)
    shown = list(finder.found(pictures))
    assert [view for view, _ in shown] == pictures
    return [faces for _, faces in shown]


def furthest(faces: list[list[Face]], places: Sequence[Sequence[Place]]) -> float:
    """How far any face lies off, in pixels; each frame must have as many as there are places."""
    assert [len(some) for some in faces] == [len(some) for some in places]
    return max(
        min(np.abs(one.points - face(place).points).max() for one in some)
        for some, middles in zip(faces, places, strict=True)
        for place in middles
    )


def line(num_frames: int, x: float = 100.0, step: float = 1.0) -> list[list[Place]]:
    return [[(x + step * t, 100.0)] for t in range(num_frames)]


@pytest.mark.parametrize("num_frames", [1, 2, 5, 6, 7, 100, 124])
def test_every_fifth_frame_is_enough_for_a_face_that_moves_steadily(num_frames: int) -> None:
    places = line(num_frames)
    detector = Told([[face(place) for place in some] for some in places])
    assert furthest(found(views(places), detector), places) < 0.2
    assert detector.shown == sorted({*range(0, num_frames, EVERY), num_frames - 1})


def test_a_face_is_followed_where_it_does_not_go_straight() -> None:
    places = [[(150 + 3 * np.sin(2 * np.pi * t / EVERY), 100.0)] for t in range(51)]
    detector = Told([[face(place) for place in some] for some in places])
    assert furthest(found(views(places), detector), places) < 0.4
    assert len(detector.shown) == 11


@pytest.mark.parametrize("jump", [(40, 0), (0, -60), (130, 0)])
def test_a_face_that_jumps_is_where_it_is(jump: Place) -> None:
    places = [[(100 + jump[0] * (t >= 23), 110 + jump[1] * (t >= 23))] for t in range(51)]
    detector = Told([[face(place) for place in some] for some in places])
    assert furthest(found(views(places), detector), places) < 0.2
    assert {22, 23} <= set(detector.shown)
    assert len(detector.shown) < 20


def test_a_face_that_is_elsewhere_for_a_moment_only() -> None:
    places = [[(100.0 + 60 * (t in (22, 23)), 100.0)] for t in range(51)]
    detector = Told([[face(place) for place in some] for some in places])
    assert furthest(found(views(places), detector), places) < 0.2
    assert {22, 23} <= set(detector.shown)


def test_nobody_is_followed_over_a_cut() -> None:
    """The face before and the one after it are in one place, but for their last frames."""
    places = line(22, step=0) + line(29, x=112.0, step=0)
    detector = Told([[face(place) for place in some] for some in places])
    pictures = views(places, grounds=[0] * 22 + [1] * 29)
    assert tracking.difference(pictures[21].thumbnail, pictures[22].thumbnail) > tracking.CUT_MIN_CHANGE
    assert furthest(found(pictures, detector), places) < 0.1
    assert {21, 22} <= set(detector.shown)


def test_two_faces_are_followed_and_one_goes() -> None:
    places = [[(80 + 0.5 * t, 100.0), (220 - 0.5 * t, 90.0)][: 1 if t > 32 else 2] for t in range(61)]
    detector = Told([[face(place) for place in some] for some in places])
    assert furthest(found(views(places), detector), places) < 0.3
    assert {32, 33} <= set(detector.shown)
    assert len(detector.shown) < 20
    alone = Told(detector._faces)
    assert furthest(found(views(places), alone, several=False), places) < 0.3
    assert set(range(33)) <= set(alone.shown), "who of several speaks shows only frame by frame"
    assert len(alone.shown) < 45


def test_what_a_detector_loses_stays_lost() -> None:
    places = line(80, step=0.5)
    told = [[] if 17 <= t < 33 or t in (60, 71) else [face(*some)] for t, some in enumerate(places)]
    detector = Told(told)
    faces = found(views(places), detector)
    assert [len(some) for some in faces[:60]] == [len(some) for some in told[:60]]
    assert faces[60] == []
    # Seen in the frames that were looked at on both sides.
    np.testing.assert_allclose(faces[71][0].points, face(*places[71]).points, atol=0.3)


def test_a_face_may_come_where_something_moves() -> None:
    still = [[] for _ in range(41)]
    detector = Told(still)
    assert found(views(still), detector) == still
    assert len(detector.shown) == 9
    told = [[face((100, 100))] if t in (12, 13) else [] for t in range(41)]
    detector = Told(told)
    assert found(views(line(41, step=3)), detector) == told
    assert sorted(detector.shown) == list(range(41))


def test_no_frame_is_left_out_where_that_is_asked_for_or_the_detector_needs_all() -> None:
    places = line(120)
    faces = [[face(place) for place in some] for some in places]
    detector = Told(faces)
    assert found(views(places), detector, every=1) == faces
    assert detector.shown == list(range(120))
    assert found(views(places), FakeDetector(faces)) == faces


def test_a_detector_is_told_who_was_near() -> None:
    """Of frames that it is shown out of order."""
    places = [[(100.0 + 60 * (t in (22, 23)), 100.0)] for t in range(51)]

    class Reminded(Told):
        def detect(self, frames: np.ndarray) -> list[list[Face]]:
            self.reminded.append((int(frames[0][0, 0, 0]), self.last))
            return super().detect(frames)

    detector = Reminded([[face(place) for place in some] for some in places])
    detector.reminded = []
    found(views(places), detector)
    told = dict(detector.reminded)
    assert told[0] == []
    np.testing.assert_allclose(told[22][0].points, face(places[20][0]).points)
