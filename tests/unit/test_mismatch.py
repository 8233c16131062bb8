"""Lips that are another clip's for a moment, in training on sound and lips alone."""

import torch

from datamodules.batch import Padded
from llama_avsr.model import mismatch
from llama_avsr.model.mismatch import mismatched
from tests import models
from tests.unit.test_model import PROMPT, made  # noqa: F401


def numbered(lengths):
    """Tokens [B, K, 1] of clip and place: 100 * clip + place; padding is -1."""
    values = torch.arange(len(lengths))[:, None] * 100 + torch.arange(max(lengths))
    padding = torch.arange(max(lengths)) >= torch.tensor(lengths)[:, None]
    return Padded(values.masked_fill(padding, -1).float()[..., None], torch.tensor(lengths))


def test_a_stretch_comes_from_the_next_clip():
    torch.manual_seed(0)
    sizes = set()
    for _ in range(50):
        given = numbered([24, 9, 17])
        found = mismatched(given, 1.0)
        assert torch.equal(found.lengths, given.lengths)
        for clip, length in enumerate(given.lengths.tolist()):
            other = (found.values != given.values)[clip, :, 0].nonzero()[:, 0]
            sizes.add((clip, len(other)))
            assert 1 <= len(other) <= 1 + length // mismatch.LONGEST_SHARE
            assert other.tolist() == list(range(int(other[0]), int(other[-1]) + 1)), "one stretch"
            expected = given.values[(clip + 1) % 3, other, 0]
            assert torch.equal(found.values[clip, other, 0], expected)
            assert (expected >= 0).all(), "no padding"
    assert len(sizes) > 10


def test_nothing_to_take_from():
    alone = numbered([5])
    assert torch.equal(mismatched(alone, 1.0).values, alone.values)
    dropped = Padded(torch.zeros(3, 0, 2), torch.zeros(3, dtype=torch.long))
    assert mismatched(dropped, 1.0).values.shape == (3, 0, 2)
    assert torch.equal(mismatched(numbered([4, 4]), 0.0).values, numbered([4, 4]).values)


def test_only_in_training(made):  # noqa: F811
    plain, model = (models.build(made, "audiovisual", lips_mismatch=p, lora_dropout=0.0) for p in (0.0, 1.0))
    plain.load_state_dict(model.state_dict())
    batch = models.joined(models.clips(model, PROMPT))

    def loss(of):
        return of.loss(batch).cross_entropy.item()

    expected = loss(plain.eval())
    assert loss(plain.train()) == expected, "nothing else is drawn"
    assert loss(model.eval()) == expected
    assert loss(model.train()) != expected
