"""The drawn mouth: it opens where the phones say so, and belongs to its speaker."""

import itertools

import numpy as np
import pytest

from llama_avsr.demo.corpus.face import SIZE, background
from llama_avsr.demo.corpus.lips import draw
from llama_avsr.demo.corpus.phones import PHONES, Phone
from llama_avsr.demo.corpus.speakers import training_speakers, unseen_speakers
from llama_avsr.demo.corpus.visemes import (
    DIFFICULTY,
    FAMILIES,
    PHONE_VISEMES,
    VISEMES,
    Difficulty,
    targets,
    trajectory,
)

CLEAR = Difficulty(merging=0, jitter=0, smoothing_s=0.02, pixel_noise=0)
SPEAKER = training_speakers()[0]


def said(*labels: str, each_s: float = 0.2) -> list[Phone]:
    return [Phone(label, i * each_s, (i + 1) * each_s) for i, label in enumerate(labels)]


def test_every_phone_has_a_viseme_and_every_viseme_a_family():
    assert set(PHONE_VISEMES) == set(PHONES)
    assert set(itertools.chain(*PHONE_VISEMES.values())) == set(VISEMES)
    assert sorted(itertools.chain(*FAMILIES)) == sorted(VISEMES)
    assert all(0 <= parameter <= 1 for shape in VISEMES.values() for parameter in shape)


def test_merging_draws_a_family_together():
    apart, merged = targets(0), targets(1)
    family = FAMILIES[3]
    assert len(family) > 2
    assert len({tuple(apart[name]) for name in family}) == len(family)
    assert all(np.allclose(merged[name], merged[family[0]]) for name in family)
    assert np.allclose(merged["bilabial"], VISEMES["bilabial"]), "a family of one stays as it is"


def test_the_trajectory_follows_the_phones():
    rng = np.random.default_rng(0)
    opening = trajectory(said("sil", "aa", "m", "aa", "sil"), 25, rng, CLEAR)[:, 0]
    assert opening.shape == (25,)
    closed, opened = opening[[2, 12, 22]], opening[[7, 17]]
    assert closed.max() < 0.25
    assert opened.min() > 0.7


def test_diphthongs_show_two_shapes():
    rounding = trajectory(said("aw", each_s=0.4), 10, np.random.default_rng(0), CLEAR)[:, 2]
    assert rounding[-1] - rounding[0] > 0.5


def test_jitter_moves_the_shapes_and_stays_in_range():
    phones = said("sil", "aa", "m", "iy", "sil")
    still = trajectory(phones, 25, np.random.default_rng(0), CLEAR)
    jittered = Difficulty(merging=0, jitter=0.5, smoothing_s=0.02, pixel_noise=0)
    moved = trajectory(phones, 25, np.random.default_rng(0), jittered)
    assert np.abs(moved - still).mean() > 0.05
    assert moved.min() >= 0
    assert moved.max() <= 1


def test_an_open_mouth_is_dark_inside():
    frames = draw(said("sil", "aa", "sil", each_s=0.4), 30, SPEAKER, seed=1, difficulty=CLEAR)
    assert frames.shape == (30, SIZE, SIZE)
    assert frames.dtype == np.uint8
    dark = (frames < 45).sum(axis=(1, 2))
    assert dark[15] > 150
    assert dark[15] > 4 * max(dark[4], dark[26])


def test_rounding_narrows_and_teeth_show():
    wide = draw(said("iy", each_s=0.4), 10, SPEAKER, seed=1, difficulty=CLEAR)[5].astype(int)
    rounded = draw(said("uw", each_s=0.4), 10, SPEAKER, seed=1, difficulty=CLEAR)[5].astype(int)
    bare = background(SPEAKER)

    def mouth_width(frame):
        return (np.abs(frame - bare) > 20).any(axis=0).sum()

    assert mouth_width(wide) > 1.5 * mouth_width(rounded)
    assert (wide > bare + 30).sum() > 20, "teeth are brighter than skin"


def test_drawing_is_a_function_of_its_arguments():
    phones = said("sil", "s", "eh", "t", "sil")
    frames = draw(phones, 25, SPEAKER, seed=1)
    assert np.array_equal(frames, draw(phones, 25, SPEAKER, seed=1))
    assert not np.array_equal(frames, draw(phones, 25, SPEAKER, seed=2))


def test_speakers_look_different():
    phones = said("sil", "aa")
    faces = [draw(phones, 10, speaker, seed=1) for speaker in training_speakers() + unseen_speakers()]
    means = [face.mean() for face in faces]
    assert max(means) - min(means) > 60
    assert all(30 < mean < 225 for mean in means), "none lost in black or white"
    for one, other in itertools.combinations(faces, 2):
        assert np.abs(one.astype(int) - other).mean() > 1


def test_the_shared_background_is_not_written_into():
    before = background(SPEAKER).copy()
    draw(said("aa"), 5, SPEAKER, seed=1)
    assert np.array_equal(before, background(SPEAKER))


def test_noise_touches_every_pixel():
    frames = draw(said("sil", each_s=1), 25, SPEAKER, seed=1).astype(float)
    corner = frames[:, :16, :16].std(axis=0)
    assert corner.mean() == pytest.approx(DIFFICULTY.pixel_noise, rel=0.2)


@pytest.mark.parametrize(("phones", "num_frames"), [([], 5), (said("aa"), 0)])
def test_nothing_to_draw_is_an_error(phones, num_frames):
    with pytest.raises(ValueError, match="expected one of each at least"):
        draw(phones, num_frames, SPEAKER, seed=1)
