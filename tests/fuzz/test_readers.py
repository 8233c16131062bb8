"""A small, repeatable share of the fuzzing; `python -m tests.fuzz --minutes N` for more."""

from __future__ import annotations

import pytest

pytest.importorskip("hypothesis")

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fuzz.targets import TARGETS
from tests.fuzz.trial import attempt, files, kept

EXAMPLES = {"mp4": 10}
USUAL = 40


@pytest.mark.parametrize("name", TARGETS)
def test_what_is_written_is_read(name: str) -> None:
    target = TARGETS[name]
    read = [attempt(target, content) for content in target.made()]
    # The network that `fairseq` looks for is not in the little file.
    assert all(read) == (name != "fairseq")


@pytest.mark.parametrize("name", TARGETS)
def test_a_result_or_a_sentence(name: str) -> None:
    target = TARGETS[name]

    @settings(
        max_examples=EXAMPLES.get(name, USUAL),
        derandomize=True,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(st.data())
    def check(data: st.DataObject) -> None:
        attempt(target, data.draw(files(target)))

    check()


FATAL_ONCE = [(name, content) for name in TARGETS for content in kept(name)]


def test_some_are_kept() -> None:
    assert FATAL_ONCE


@pytest.mark.parametrize(("name", "content"), FATAL_ONCE)
def test_what_was_fatal_once_is_refused(name: str, content: bytes) -> None:
    assert not attempt(TARGETS[name], content)
