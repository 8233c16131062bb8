"""The demo's sentences."""

import pytest

from llama_avsr.demo.corpus.grammar import NUM_HELD_OUT, NUM_SENTENCES, SLOTS, WORDS, held_out, sentences


def test_the_vocabulary_is_grids():
    assert len(WORDS) == len(set(WORDS)) == 51
    assert "w" not in WORDS
    assert [len(slot) for slot in SLOTS] == [4, 4, 4, 25, 10, 4]


def test_sentences_are_distinct_and_follow_the_grammar():
    drawn = sentences(500, seed=3)
    assert len(set(drawn)) == 500
    for sentence in drawn:
        words = sentence.split(" ")
        assert len(words) == len(SLOTS)
        assert all(word in slot for word, slot in zip(words, SLOTS, strict=True))


def test_the_seed_decides_and_longer_draws_begin_with_shorter_ones():
    assert sentences(50, seed=1) == sentences(50, seed=1)
    assert sentences(80, seed=1)[:50] == sentences(50, seed=1)
    assert sentences(50, seed=1) != sentences(50, seed=2)


def test_excluded_sentences_do_not_come_up():
    unwanted = set(sentences(NUM_SENTENCES - 100, seed=0))
    assert unwanted.isdisjoint(sentences(100, seed=0, exclude=unwanted))


def test_asking_for_more_than_are_left_is_an_error():
    unwanted = sentences(NUM_SENTENCES - 10, seed=0)
    with pytest.raises(ValueError, match="only 10 of the grammar's 64000 are left"):
        sentences(11, seed=0, exclude=unwanted)


def test_a_tenth_is_held_out():
    assert len(held_out()) == NUM_HELD_OUT == 6400
