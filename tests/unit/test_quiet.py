"""The one cutter at the quietest place."""

import itertools

import numpy as np
import pytest

from preparation.quiet import cut_where_quiet


def test_cuts_lie_where_it_is_quiet():
    loudness = np.ones(200)
    loudness[70:75] = 0
    pieces = cut_where_quiet((0, 150), loudness, longest=100, shortest_rest=25, window=5)
    assert pieces == [(0, 72), (72, 150)]


@pytest.mark.parametrize("activity", [None, np.random.default_rng(0).random(1000)])
@pytest.mark.parametrize("span", [(0, 1000), (13, 14), (100, 151), (7, 207), (5, 5)])
def test_nothing_is_lost_or_too_long(span, activity):
    pieces = cut_where_quiet(span, activity, longest=50, shortest_rest=12, window=3)
    assert pieces[0][0] == span[0]
    assert pieces[-1][1] == span[1]
    assert all(before[1] == after[0] for before, after in itertools.pairwise(pieces))
    assert all(stop - start <= 50 for start, stop in pieces)


def test_without_loudness_pieces_are_as_long_as_they_may_be():
    assert cut_where_quiet((10, 260), None, 100, 25, 5) == [(10, 110), (110, 210), (210, 260)]
