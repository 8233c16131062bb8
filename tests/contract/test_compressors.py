"""What every compressor promises."""

import pytest
import torch

from datamodules.batch import Padded
from llama_avsr import registry

NAMES = registry.names("llama_avsr.compressors")


def test_some_are_found() -> None:
    assert {"stack", "avg-pooling"} <= {name.replace("_", "-") for name in NAMES}


@pytest.mark.parametrize("ratio", [1, 2, 3])
@pytest.mark.parametrize("name", NAMES)
def test_lengths_widths_and_padding(name: str, ratio: int) -> None:
    compressor = registry.load("llama_avsr.compressors", name).Compressor(ratio)
    frames = torch.randn(3, 11, 4)
    lengths = torch.tensor([11, 7, 2])
    poison = frames.clone()
    poison[~Padded(frames, lengths).mask] = float("nan")
    tokens = compressor(Padded(poison, lengths))
    assert tokens.values.shape == (3, compressor.num_tokens(11), compressor.out_dim(4))
    assert tokens.lengths.tolist() == [compressor.num_tokens(n) for n in (11, 7, 2)]
    for clip, length, found in zip(frames, lengths, tokens.unpad(), strict=True):
        (alone,) = compressor(Padded.from_list([clip[:length]])).unpad()
        assert torch.equal(found, alone)


def test_stack_concatenates_and_average_averages() -> None:
    frames = Padded.from_list([torch.arange(10.0).reshape(5, 2)])
    stack = registry.load("llama_avsr.compressors", "stack").Compressor(2)(frames)
    assert stack.values.tolist() == [[[0, 1, 2, 3], [4, 5, 6, 7]]]
    average = registry.load("llama_avsr.compressors", "avg-pooling").Compressor(2)(frames)
    assert average.values.tolist() == [[[1, 2], [5, 6]]]
