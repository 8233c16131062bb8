import pytest

from llama_avsr.training.schedules import cosine_with_warmup, floored_cosine, tri_stage


def test_warms_up_linearly_then_falls_to_zero():
    curve = cosine_with_warmup(4, 12)
    assert [curve(step) for step in range(4)] == pytest.approx([0.25, 0.5, 0.75, 1.0])
    falling = [curve(step) for step in range(3, 12)]
    assert falling == sorted(falling, reverse=True)
    assert falling[4] == pytest.approx(0.5)
    assert falling[-1] == pytest.approx(0)


def test_stays_at_zero_past_the_end():
    curve = cosine_with_warmup(0, 10)
    assert [curve(step) for step in (10, 11, 15, 1000)] == pytest.approx([0] * 4, abs=0)


def test_without_warmup_starts_below_the_peak():
    assert 0.99 < cosine_with_warmup(0, 100)(0) < 1


@pytest.mark.parametrize(("warmup", "total"), [(-1, 10), (10, 10), (11, 10), (0, 0)])
def test_refuses_impossible_plans(warmup, total):
    with pytest.raises(ValueError, match="--warmup-epochs"):
        cosine_with_warmup(warmup, total)


def test_tri_stage_rises_stays_and_falls_exponentially():
    curve = tri_stage(4, 2, 10, 0.2, 0.01)
    assert [curve(step) for step in range(5)] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])
    assert [curve(5), curve(6)] == [1, 1]
    assert curve(11) == pytest.approx(0.1)
    assert [curve(step) for step in (16, 17, 1000)] == pytest.approx([0.01] * 3)


def test_floored_cosine_rises_and_falls_between_its_ends():
    curve = floored_cosine(4, 12, 0.2, 0.1)
    assert [curve(step) for step in range(5)] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])
    assert curve(8) == pytest.approx(0.1 + 0.9 * 0.5)
    assert [curve(step) for step in (12, 13, 1000)] == pytest.approx([0.1] * 3)
    with pytest.raises(ValueError, match="--warmup-epochs"):
        floored_cosine(12, 12, 0.2, 0.1)


@pytest.mark.parametrize(("steps", "message"), [((4, 0, 0), "--max-steps"), ((-1, 0, 5), "--warmup-steps")])
def test_tri_stage_refuses_impossible_plans(steps, message):
    with pytest.raises(ValueError, match=message):
        tri_stage(*steps, 0.01, 0.05)


def test_tri_stage_cannot_fall_to_nothing():
    with pytest.raises(ValueError, match="shares of the peak"):
        tri_stage(1, 0, 5, 0.01, 0)
