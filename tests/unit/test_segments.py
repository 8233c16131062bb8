"""Cutting at words: nothing lost, nothing doubled, nothing too long, and in the pauses."""

import itertools

import numpy as np
import pytest

from preparation.datasets.segments import (
    Cues,
    Span,
    Stretch,
    UnknownText,
    WholeText,
    Word,
    Words,
    outside,
    to_frame,
)


def stretch(num_frames, max_frames, start=0, total=None, loudness=None):
    span = Span(start, start + num_frames)
    return Stretch(span, total if total is not None else span.end, max_frames, loudness)


def spans(cut):
    return [(segment.span.start, segment.span.end) for segment in cut.segments]


def texts(cut):
    return [segment.text for segment in cut.segments]


def random_words(rng, num_words):
    words, now = [], rng.uniform(0, 1)
    for number in range(num_words):
        length = rng.uniform(0.05, 0.6)
        words.append(Word(f"W{number}", now, now + length))
        now += length + rng.choice([0.0, 0.0, 0.02, 0.3, 1.2])
    return tuple(words), now + rng.uniform(0, 1)


def test_times_become_the_nearest_frame_boundary():
    assert [to_frame(s) for s in (0, 0.019, 0.02, 0.04, 0.059, 0.06, 1)] == [0, 0, 1, 1, 1, 2, 25]


def test_an_example_by_hand():
    words = Words(
        (
            Word("A", 0.0, 0.5),
            Word("B", 0.5, 1.0),
            Word("C", 1.8, 2.0),
            Word("D", 2.0, 2.6),
            Word("E", 2.6, 3.0),
        )
    )
    # 75 frames in pieces of at most 50: two, cut in the pause before C, whose middle is 1.4 s.
    cut = words.cut(stretch(75, 50))
    assert spans(cut) == [(0, 35), (35, 75)]
    assert texts(cut) == ["A B", "C D E"]


def test_what_fits_stays_whole():
    cut = Words((Word("A", 0.1, 0.5), Word("B", 1.5, 2.0))).cut(stretch(60, 60))
    assert (spans(cut), texts(cut)) == ([(0, 60)], ["A B"])


@pytest.mark.parametrize("seed", range(20))
def test_segments_tile_the_video(seed):
    rng = np.random.default_rng(seed)
    words, end_s = random_words(rng, num_words=120)
    total = to_frame(end_s)
    cut = Words(words).cut(stretch(total, 400))
    found = spans(cut)
    assert found[0][0] == 0
    assert found[-1][1] == total
    assert all(before[1] == after[0] for before, after in itertools.pairwise(found))
    assert all(0 < end - start <= 400 for start, end in found)
    assert " ".join(texts(cut)) == " ".join(word.text for word in words)
    assert len(found) <= total // 400 + 2
    # Each word lies in the segment that has its text.
    for segment in cut.segments:
        for name in segment.text.split():
            word = words[int(name[1:])]
            middle = (word.start_s + word.end_s) / 2 * 25
            assert segment.span.start - 1 <= middle <= segment.span.end + 1


def test_a_word_alone_in_a_long_silence_keeps_its_surroundings():
    cut = Words((Word("A", 20.0, 20.4),)).cut(stretch(1000, 100))
    [(start, end)] = spans(cut)
    assert end - start == 100
    assert start < 500 < 510 < end


def test_a_word_longer_than_a_segment_is_left_out():
    cut = Words((Word("A", 0.0, 1.0), Word("LONG", 1.0, 9.0), Word("B", 9.0, 10.0))).cut(stretch(250, 100))
    assert texts(cut) == ["A", "B"]
    assert [why.reason for why in cut.left_out] == ["a word longer than the longest segment"]


def test_noise_takes_time_but_has_no_text():
    cut = Words((Word("A", 0.0, 0.4), Word("", 0.4, 1.0), Word("B", 1.0, 1.4))).cut(stretch(35, 50))
    assert texts(cut) == ["A B"]
    cut = Words((Word("", 0.4, 1.0),)).cut(stretch(35, 50))
    assert (texts(cut), [why.reason for why in cut.left_out]) == ([], ["no words"])


def test_words_in_disorder_or_overlapping_lose_nothing():
    words = (Word("B", 0.5, 1.2), Word("A", 0.0, 0.7), Word("C", 1.0, 2.5))
    cut = Words(words).cut(stretch(63, 40))
    assert " ".join(texts(cut)) == "A B C"
    assert spans(cut)[0][0] == 0
    assert spans(cut)[-1][1] == 63


def test_words_outside_the_stretch_belong_to_another_one():
    words = Words((Word("A", 0.2, 0.6), Word("B", 1.0, 1.4), Word("C", 3.0, 3.4)))
    first, second = stretch(40, 100, total=100), stretch(40, 100, start=60, total=100)
    assert (texts(words.cut(first)), spans(words.cut(first))) == (["A B"], [(0, 40)])
    assert (texts(words.cut(second)), spans(words.cut(second))) == (["C"], [(60, 100)])
    assert outside(words.timed, [first.span, second.span]) == 0
    assert outside(words.timed, [second.span]) == 2
    assert words.cut(stretch(10, 100, start=200)).segments == []


def test_a_word_may_reach_a_little_past_the_end():
    cut = Words((Word("A", 0.2, 1.1),)).cut(stretch(25, 100))
    assert spans(cut) == [(0, 25)]


def test_each_cue_is_a_clip_and_neighbours_share_a_boundary():
    cues = Cues((Word("ONE", 0.4, 1.3), Word("TWO", 1.3, 2.0), Word("LONG", 2.5, 9.5), Word("LATE", 30, 31)))
    cut = cues.cut(stretch(250, 100))
    assert spans(cut) == [(10, 33), (33, 50)]
    assert texts(cut) == ["ONE", "TWO"]
    assert [why.reason for why in cut.left_out] == ["longer than 4 s"]


def test_whole_texts_need_the_whole_video():
    text = WholeText("HELLO")
    assert spans(text.cut(stretch(50, 100))) == [(0, 50)]
    assert spans(text.cut(stretch(50, 100, total=53))) == [(0, 50)]
    assert "in a part of it only" in text.cut(stretch(50, 100, total=80)).left_out[0].reason
    assert text.cut(stretch(101, 100)).left_out[0].reason == "longer than 4 s"


def test_unknown_texts_are_cut_where_it_is_quiet():
    loudness = np.ones(1000)
    loudness[350:356] = 0
    loudness[700:706] = 0
    cut = UnknownText().cut(stretch(1000, 400, loudness=loudness))
    found = spans(cut)
    assert found[0][0] == 0
    assert found[-1][1] == 1000
    assert all(before[1] == after[0] for before, after in itertools.pairwise(found))
    assert 350 <= found[0][1] <= 356
    assert 700 <= found[1][1] <= 706
    assert set(texts(cut)) == {None}


@pytest.mark.parametrize("num_frames", [1, 25, 26, 49, 50, 51, 399, 400, 401, 426, 5000])
@pytest.mark.parametrize("max_frames", [25, 400])
def test_unknown_texts_never_leave_a_piece_too_long(num_frames, max_frames):
    for loudness in (None, np.ones(num_frames)):
        found = spans(UnknownText().cut(stretch(num_frames, max_frames, loudness=loudness)))
        assert found[0][0] == 0
        assert found[-1][1] == num_frames
        assert all(0 < end - start <= max_frames for start, end in found)
