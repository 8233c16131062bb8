"""Scene cuts, faces over time, and whose mouth."""

import numpy as np
import pytest

from preparation.faces.tracking import choose, link, shots, thumbnail
from tests.faces import face_at, textured


def thumbnails(*pieces):
    return np.stack([thumbnail(frame) for piece in pieces for frame in piece])


def test_cuts_split_a_video_and_movement_does_not():
    a, b = textured(30, seed=1), textured(20, seed=2)
    assert shots(thumbnails(a)) == [(0, 30)]
    assert shots(thumbnails(a, b, a)) == [(0, 30), (30, 50), (50, 80)]
    assert shots(thumbnails(a[:1])) == [(0, 1)]
    wide = textured(1, width=2400, seed=3)[0]
    swing = np.stack([wide[:, 60 * t : 60 * t + 240] for t in range(36)])
    assert shots(thumbnails(swing)) == [(0, 36)]


@pytest.mark.parametrize("frames", [1, 2, 3])
def test_a_flash_is_no_cut(frames):
    still = np.repeat(textured(1), 20, axis=0)
    flash = np.full_like(still[:frames], 255)
    assert shots(thumbnails(still, flash, still)) == [(0, 40 + frames)]


def test_two_people_make_two_tracks():
    frames = [[face_at(10 + t), face_at(400 - t)] for t in range(50)]
    frames = [faces if t % 2 else faces[::-1] for t, faces in enumerate(frames)]
    left, right = sorted(link(frames, 100, 10), key=lambda track: track.faces[0].box[0])
    assert (left.first, left.stop, right.first, right.stop) == (100, 150, 100, 150)
    assert np.allclose(np.diff([face.box[0] for face in left.faces]), 1)
    assert np.allclose(np.diff([face.box[0] for face in right.faces]), -1)


def test_short_losses_are_bridged_and_long_ones_end_a_track():
    frames = [[face_at(0)] for _ in range(60)]
    for t in [*range(10, 15), *range(30, 41)]:
        frames[t] = []
    tracks = link(frames, 0, 10)
    assert [(track.first, track.stop, len(track.seen)) for track in tracks] == [(0, 30, 25), (41, 60, 19)]
    assert tracks[0].faces[10:15] == [None] * 5
    assert len(link(frames, 0, 11)) == 1


def test_another_place_or_size_is_another_face():
    assert len(link([[face_at(0)], [face_at(300)]], 0, 10)) == 2
    assert len(link([[face_at(0)], [face_at(0, scale=3)]], 0, 10)) == 2
    assert len(link([[face_at(0)], [face_at(-10, -10, scale=1.2)]], 0, 10)) == 1


def test_the_largest_face_speaks_if_not_told_otherwise():
    small, large = face_at(0), face_at(300, scale=1.5)
    tracks = link([[small, large] if t < 30 else [small] for t in range(40)], 0, 5)
    (chosen,) = choose(tracks, "largest")
    assert chosen.faces[0] is large
    passing = link([[small, face_at(300, scale=1.5)] if t < 5 else [small] for t in range(40)], 0, 5)
    (chosen,) = choose(passing, "largest")
    assert chosen.faces[0] is small, "over its whole time it fills more of the picture"


def test_the_mouth_that_moves_speaks():
    tracks = link(
        [[face_at(0, mouth_opening=4 + 4 * np.sin(t / 2)), face_at(300, scale=1.5)] for t in range(40)], 0, 5
    )
    (chosen,) = choose(tracks, "talking")
    assert chosen.faces[0].box[0] < 200


def test_faces_are_numbered_from_the_left():
    frames = [[face_at(600), face_at(0), face_at(300)] for _ in range(40)]
    for t in range(15, 25):
        frames[t] = [face_at(600), face_at(300)]
    tracks = link(frames, 0, 5)
    assert len(tracks) == 4
    assert [(t.first, t.stop) for t in choose(tracks, 1)] == [(0, 15), (25, 40)]
    for number, x in ((2, 300), (3, 600)):
        (chosen,) = choose(tracks, number)
        assert abs(chosen.faces[0].box[0] - face_at(x).box[0]) < 1
    assert choose(tracks, 4) == []


def test_people_who_are_not_there_together_follow_each_other():
    frames = [[face_at(0)] if t < 20 else [face_at(500)] for t in range(40)]
    tracks = link(frames, 0, 3)
    assert [(t.first, t.stop) for t in choose(tracks, "largest")] == [(0, 20), (20, 40)]
