"""Mouths of a picture that is still being recorded."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from preparation.faces import mouth
from preparation.faces.live import MAX_LOST_FRAMES, LiveMouths
from preparation.faces.mouth import Placement
from tests.unit.test_following import MadeView, Place, Told, face, line, views

EVERY = 5


class Seen(MadeView):
    """A picture whose mouths are cut as RGB."""

    def cut(self, placement: Placement) -> np.ndarray:
        return mouth.cut(self.rgb(), placement)


def shown(places: Sequence[Sequence[Place]], grounds: Sequence[int] | None = None) -> list[Seen]:
    return [Seen(view.rgb()) for view in views(places, grounds)]


def stream(places: Sequence[Sequence[Place]], speaker: str | int = "largest") -> LiveMouths:
    return LiveMouths(Told([[face(place) for place in some] for some in places]), speaker, EVERY)


def expected(view: Seen, place: Place) -> np.ndarray:
    return view.cut(mouth.placed(face(place).points))


def test_every_frame_comes_in_time_and_from_its_own_place() -> None:
    places = line(23, step=1.5)
    pictures, mouths = shown(places), stream(places)
    found: list[np.ndarray | None] = []
    for count, picture in enumerate(pictures, start=1):
        found += mouths.push([picture])
        assert count - len(found) < EVERY
    found += mouths.end()
    assert len(found) == len(places)
    for view, (place,), crop in zip(pictures, places, found, strict=True):
        # Where the face was followed, not detected, its place is good to a fraction of a pixel.
        assert np.abs(crop.astype(int) - expected(view, place)).mean() < 8


def test_pieces_make_no_difference() -> None:
    places = line(17)
    pictures, one, other = shown(places), stream(places), stream(places)
    at_once = [*one.push(pictures), *one.end()]
    in_pieces = [
        *other.push(pictures[:4]),
        *other.push(pictures[4:15]),
        *other.push(pictures[15:]),
        *other.end(),
    ]
    assert len(at_once) == len(in_pieces) == 17
    assert all(np.array_equal(a, b) for a, b in zip(at_once, in_pieces, strict=True))


def test_a_face_that_is_lost_holds_its_place_for_a_while() -> None:
    places = [*line(EVERY + 1), *([[]] * 30)]
    mouths = stream(places)
    found = [*mouths.push(shown(places)), *mouths.end()]
    held = [crop is not None for crop in found]
    assert held == [True] * (EVERY + 1 + MAX_LOST_FRAMES) + [False] * (30 - MAX_LOST_FRAMES)


def test_the_speaker_is_counted_from_the_left() -> None:
    places = [[(300.0, 120.0), (100.0, 120.0)]] * 8
    pictures = shown(places)
    for speaker, place in ((1, (100.0, 120.0)), (2, (300.0, 120.0))):
        mouths = stream(places, speaker)
        found = [*mouths.push(pictures), *mouths.end()]
        assert np.array_equal(found[0], expected(pictures[0], place))
    third = stream(places, 3)
    assert [*third.push(pictures), *third.end()] == [None] * 8
    with pytest.raises(ValueError, match="talking needs a whole recording"):
        stream(places, "talking")
