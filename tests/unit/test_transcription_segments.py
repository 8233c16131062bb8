"""Cutting at pauses: nothing lost, nothing twice, no cut inside speech without need."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch

from datamodules.media.sound import is_silent
from llama_avsr.transcription.segments import (
    Cutting,
    apart,
    cut_long,
    follow_lips,
    motion,
    moving_lips,
    with_margins,
)
from llama_avsr.words import voice
from llama_avsr.words.voice import speech_spans
from tests.nonspeech import sounds
from tests.speech import spoken

PAUSE = 12


def test_speech_is_found_between_pauses() -> None:
    parts = [(1, False), (2, True), (1, False), (1.2, True), (0.3, False), (1, True), (1, False)]
    pieces = [spoken(s, i) if speaks else np.zeros(round(s * 16000)) for i, (s, speaks) in enumerate(parts)]
    found = speech_spans(np.concatenate(pieces).astype(np.float32), PAUSE)
    # The pause of 0.3 s is too short to cut.
    assert np.abs(np.subtract(found, [(25, 75), (100, 163)])).max() <= 4


def test_nobody_speaks_in_noise() -> None:
    for name, waveform in sounds(4.0).items():
        assert speech_spans(waveform, PAUSE) == [], name


def test_speech_is_found_in_noise() -> None:
    waveform = np.concatenate([np.zeros(32000), spoken(2), np.zeros(32000)])
    noise = sounds(6.0)["pink noise"] * 0.1 * waveform.std() / 0.1
    ((start, stop),) = speech_spans((waveform + noise).astype(np.float32), PAUSE)
    assert abs(start - 50) <= 5
    assert abs(stop - 100) <= 5


def test_nothing_and_silence() -> None:
    assert speech_spans(np.zeros(0, dtype=np.float32), PAUSE) == []
    assert is_silent(np.zeros(16000, dtype=np.float32))
    assert is_silent(np.zeros(0, dtype=np.float32))
    assert not is_silent(np.concatenate([np.zeros(160000), spoken(1)]).astype(np.float32))


def test_the_detector_leaves_the_number_of_threads_alone() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(before + 1)
    try:
        voice._package.cache_clear()
        voice._network.cache_clear()
        for name in [name for name in sys.modules if name.startswith("silero_vad")]:
            del sys.modules[name]
        speech_spans(spoken(0.5).astype(np.float32), PAUSE)
        assert torch.get_num_threads() == before + 1
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("seed", range(5))
def test_every_frame_of_speech_is_in_exactly_one_segment(seed: int) -> None:
    rng = np.random.default_rng(seed)
    edges = np.sort(rng.choice(np.arange(1, 150), 30, replace=False)) * 20
    spans = [(int(start), int(stop)) for start, stop in zip(edges[::2], edges[1::2], strict=True)]
    levels = rng.normal(-30, 5, 3000)
    rules = Cutting.of_seconds(0.5, 6, (0.08, 0.2))
    pieces = cut_long(with_margins(spans, rules.margins, len(levels)), levels, rules.max_length)
    count = np.zeros(len(levels), dtype=int)
    for start, stop in pieces:
        assert 0 < stop - start <= rules.max_length
        count[start:stop] += 1
    assert count.max() == 1
    assert all((count[start:stop] == 1).all() for start, stop in spans)
    assert pieces == sorted(pieces)


def test_margins_stay_apart_and_inside() -> None:
    assert with_margins([(1, 10), (13, 20), (40, 49)], (2, 5), 50) == [(0, 12), (12, 25), (38, 50)]
    assert with_margins([(5, 10), (12, 20)], (0, 1), 20) == [(5, 11), (12, 20)]


def test_long_speech_is_cut_where_it_is_quietest() -> None:
    activity = np.ones(100)
    activity[33], activity[71] = 0.2, 0.4
    pieces = cut_long([(0, 100)], activity, 50)
    assert abs(pieces[0][1] - 33) <= 1
    assert abs(pieces[1][1] - 71) <= 1
    assert cut_long([(3, 50)], activity, 50) == [(3, 50)]


def test_apart_divides_and_loses_nothing() -> None:
    inside, outside = apart([(0, 10), (20, 40)], [(5, 25), (30, 35)])
    assert inside == [(5, 10), (20, 25), (30, 35)]
    assert outside == [(0, 5), (25, 30), (35, 40)]
    assert apart([(0, 10)], []) == ([], [(0, 10)])


def test_lips_that_move_longer_than_the_voice_widen_a_segment() -> None:
    moving = np.full(100, 0.1)
    moving[36:62] = 2.0
    moving[80:85] = 2.0  # no voice: no segment of its own
    assert follow_lips([(40, 60)], moving) == [(36, 62)]
    moving[20:62] = 2.0
    assert follow_lips([(40, 60)], moving) == [(32, 62)]  # but not without end


def test_lips_say_nothing_where_they_never_rest() -> None:
    moving = np.full(100, 2.0)
    assert follow_lips([(40, 60)], moving) == [(40, 60)]
    assert follow_lips([], moving) == []
    assert follow_lips([(0, 100)], moving) == [(0, 100)]


def test_motion() -> None:
    frames = np.zeros((4, 8, 8), dtype=np.uint8)
    frames[2:] = 200
    assert motion(frames).tolist() == [0, 0, 200, 0]
    assert motion(frames[:1]).tolist() == [0]


def test_rules_that_cannot_be() -> None:
    with pytest.raises(ValueError, match="longest segment"):
        Cutting.of_seconds(0.5, 0.4, (0, 0))
    with pytest.raises(ValueError, match="shortest pause"):
        Cutting.of_seconds(0.01, 15, (0, 0))


def test_a_still_mouth_says_nothing() -> None:
    rng = np.random.default_rng(0)
    mouth = rng.integers(60, 200, (96, 96)).astype(np.float64)
    still = np.clip(mouth + rng.normal(0, 4, (75, 96, 96)), 0, 255)
    assert moving_lips(still.astype(np.uint8), PAUSE) == []
    assert moving_lips(still[:5].astype(np.uint8), PAUSE) == []
    # Its lower half opens and closes four times a second, for a second.
    opening = 60 * np.sin(np.arange(25) * 2 * np.pi * 4 / 25)
    still[25:50, 48:] += opening[:, None, None]
    ((start, stop),) = moving_lips(np.clip(still, 0, 255).astype(np.uint8), PAUSE)
    assert 15 <= start <= 25
    assert 50 <= stop <= 60
