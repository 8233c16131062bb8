"""Training takes denormal numbers for zero, and leaves the process as it was."""

import sys

from llama_avsr.lightning.trainer import denormals_as_zero


def half_of_the_smallest():
    smallest = sys.float_info.min
    return smallest / 2


def test_denormals_are_zero_within_only():
    assert half_of_the_smallest() > 0
    with denormals_as_zero():
        assert half_of_the_smallest() == 0
        with denormals_as_zero():
            assert half_of_the_smallest() == 0
        assert half_of_the_smallest() == 0
    assert half_of_the_smallest() > 0
