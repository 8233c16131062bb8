"""Cutting at pauses: nothing lost, nothing twice, no cut inside speech without need."""

from __future__ import annotations

import numpy as np
import pytest

from datamodules.media.sound import is_silent
from llama_avsr.transcription.segments import (
    Cutting,
    apart,
    cut_long,
    follow_lips,
    levels_db,
    motion,
    noise_floor,
    speech_spans,
    with_margins,
)

PAUSE = 12


def sound(
    parts: list[tuple[float, float]], noise_db: float = -70, seed: int = 0, syllables: bool = False
) -> np.ndarray:
    """(seconds, amplitude) after another: white noise of that loudness, over a steady noise.

    syllables: four times a second it nearly ends, as speech does.
    """
    rng = np.random.default_rng(seed)
    pieces = [amplitude * rng.standard_normal(round(seconds * 16000)) for seconds, amplitude in parts]
    waveform = np.concatenate(pieces)
    if syllables:
        waveform *= np.abs(np.sin(np.arange(len(waveform)) / 16000 * np.pi * 4)) ** 2 + 0.01
    return (waveform + 10 ** (noise_db / 20) * rng.standard_normal(len(waveform))).astype(np.float32)


def is_near(found: list[tuple[int, int]], expected: list[tuple[int, int]]) -> bool:
    """To a frame: what begins in the middle of a frame is in it."""
    return np.shape(found) == np.shape(expected) and np.abs(np.subtract(found, expected)).max() <= 1


def test_speech_is_found_between_pauses() -> None:
    levels = levels_db(sound([(1, 0), (2, 0.1), (1, 0), (1.2, 0.1), (0.3, 0), (1, 0.05), (1, 0)]))
    # The pause of 0.3 s is too short to cut.
    assert is_near(speech_spans(levels, PAUSE), [(25, 75), (100, 163)])


def test_soft_beginnings_belong_to_loud_speech_but_soft_sounds_alone_are_no_speech() -> None:
    levels = levels_db(sound([(1, 0), (0.4, 0.005), (1, 0.1), (1.5, 0), (0.4, 0.002), (2, 0)]))
    assert is_near(speech_spans(levels, PAUSE), [(25, 60)])


def test_a_click_is_no_speech() -> None:
    levels = levels_db(sound([(1, 0), (0.04, 0.1), (2, 0), (1, 0.1), (1, 0)]))
    assert is_near(speech_spans(levels, PAUSE), [(76, 101)])


def test_the_noise_floor_is_followed() -> None:
    quiet = sound([(20, 0), (3, 0.1), (20, 0)], noise_db=-70)
    loud = sound([(20, 0), (3, 0.1), (20, 0)], noise_db=-42, seed=2)
    levels = levels_db(np.concatenate([quiet, loud]))
    spans = speech_spans(levels, PAUSE)
    begin = len(quiet) // 640
    assert is_near([span for span in spans if span[0] < begin - 25], [(500, 575)])
    later = [span for span in spans if span[0] > begin + 300]
    assert is_near(later, [(begin + 500, begin + 575)])
    assert noise_floor(levels)[begin + 400] - noise_floor(levels)[100] == pytest.approx(28, abs=1)


def test_where_noise_comes_close_to_speech_nothing_is_taken_for_a_pause() -> None:
    levels = levels_db(sound([(2, 0), (2, 0.1), (2, 0)], noise_db=-24))
    assert speech_spans(levels, PAUSE) == [(0, 150)]


def test_nothing_and_silence() -> None:
    assert speech_spans(np.zeros(0), PAUSE) == []
    assert is_silent(np.zeros(16000, dtype=np.float32))
    assert is_silent(np.zeros(0, dtype=np.float32))
    assert not is_silent(sound([(60, 0), (1, 0.05)], noise_db=-90))


@pytest.mark.parametrize("seed", range(5))
def test_every_frame_of_speech_is_in_exactly_one_segment(seed: int) -> None:
    rng = np.random.default_rng(seed)
    parts = [(float(rng.uniform(0.1, 9)), float(rng.choice([0, 0.05, 0.2]))) for _ in range(30)]
    levels = levels_db(sound(parts, seed=seed, syllables=True))
    rules = Cutting.of_seconds(0.5, 6, (0.08, 0.2))
    spans = with_margins(speech_spans(levels, rules.min_pause), rules.margins, len(levels))
    pieces = cut_long(spans, levels, rules.max_length)
    count = np.zeros(len(levels), dtype=int)
    for start, stop in pieces:
        assert 0 < stop - start <= rules.max_length
        count[start:stop] += 1
    assert count.max() == 1
    speech = levels > -40
    assert speech.sum() > 500
    assert (count[speech] == 1).all()
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
