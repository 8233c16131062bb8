"""What every compressor promises."""

import pytest
import torch

from datamodules import registry
from datamodules.batch import Padded
from llama_avsr.compressors import CompressorProtocol

NAMES = registry.names("llama_avsr.compressors")
WIDTH = 4
RUNS = [torch.tensor([3, 1, 5, 2]), torch.tensor([7]), torch.tensor([1, 1])]
"""Of clips of 11, 7 and 2 frames, for compressors that merge runs."""


def make(name: str, ratio: int = 2) -> CompressorProtocol:
    module = registry.load("llama_avsr.compressors", name)
    return module.make(WIDTH, ratio, **module.TINY)


def test_some_are_found() -> None:
    assert {"stack", "avg-pooling", "units"} <= set(NAMES)


@pytest.mark.parametrize("ratio", [1, 2, 3])
@pytest.mark.parametrize("name", NAMES)
def test_lengths_widths_and_padding(name: str, ratio: int) -> None:
    compressor = make(name, ratio)
    frames = torch.randn(3, 11, WIDTH)
    lengths = torch.tensor([11, 7, 2])
    poison = frames.clone()
    poison[~Padded(frames, lengths).mask] = float("nan")
    tokens = compressor(Padded(poison, lengths), RUNS)
    assert tokens.values.shape == (3, int(tokens.lengths.max()), compressor.out_dim(WIDTH))
    assert all(found <= compressor.num_tokens(n) for found, n in zip(tokens.lengths, (11, 7, 2), strict=True))
    for clip, length, runs, found in zip(frames, lengths, RUNS, tokens.unpad(), strict=True):
        (alone,) = compressor(Padded.from_list([clip[:length]]), [runs]).unpad()
        torch.testing.assert_close(found, alone)


FOLDING = [name for name in NAMES if registry.load("llama_avsr.compressors", name).FOLDS_BY_RATIO]


@pytest.mark.parametrize("name", FOLDING)
def test_fixed_groups_make_as_many_tokens_as_they_say(name: str) -> None:
    compressor = make(name, 3)
    tokens = compressor(Padded(torch.randn(3, 11, WIDTH), torch.tensor([11, 7, 2])))
    assert tokens.lengths.tolist() == [compressor.num_tokens(n) for n in (11, 7, 2)] == [3, 2, 0]


def test_stack_concatenates_and_average_averages() -> None:
    frames = Padded.from_list([torch.arange(10.0).reshape(5, 2)])
    assert make("stack")(frames).values.tolist() == [[[0, 1, 2, 3], [4, 5, 6, 7]]]
    assert make("avg-pooling")(frames).values.tolist() == [[[1, 2], [5, 6]]]


def test_units_average_runs() -> None:
    frames = Padded.from_list([torch.arange(10.0).reshape(5, 2)])
    tokens = make("units")(frames, [torch.tensor([2, 1, 2])])
    assert tokens.values.tolist() == [[[1, 2], [4, 5], [7, 8]]]


def test_units_of_another_clip_are_refused() -> None:
    frames = Padded.from_list([torch.randn(5, 2)])
    with pytest.raises(ValueError, match=r"sum to \[4\], the clips have \[5\]"):
        make("units")(frames, [torch.tensor([4])])
    with pytest.raises(ValueError, match="found a clip without units"):
        make("units")(frames, [None])


def test_gradients_reach_every_frame_of_a_run() -> None:
    frames = torch.randn(1, 5, 2, requires_grad=True)
    make("units")(Padded(frames, torch.tensor([5])), [torch.tensor([4, 1])]).values.sum().backward()
    assert frames.grad[0, :, 0].tolist() == [0.25] * 4 + [1]
