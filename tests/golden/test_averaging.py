"""Averages of checkpoints against recordings of the original's."""

from pathlib import Path

import pytest
import torch

from llama_avsr.checkpoints.averaging import average

FOLDER = Path(__file__).parent / "training"
TIED = {"llm.model.embed_tokens.weight", "llm.lm_head.weight"}


def inputs(count):
    for index in range(count):
        state = torch.load(FOLDER / f"avg_in_{index}.ckpt", weights_only=True)["state_dict"]
        yield {key.removeprefix("model."): value for key, value in state.items() if key.startswith("model.")}


@pytest.mark.parametrize("count", [1, 2, 3])
def test_average_is_the_originals(count):
    expected = torch.load(FOLDER / f"avg_out_{count}.pth", weights_only=True)
    found = average(inputs(count))
    assert found.keys() == expected.keys()
    compared = 0
    for key, value in found.items():
        if key in TIED and count > 1:
            continue
        # The original rounds bfloat16 sums at every addition; here only the mean is rounded.
        tolerance = 2**-7 if value.dtype == torch.bfloat16 else 1e-6
        torch.testing.assert_close(value, expected[key], rtol=tolerance, atol=tolerance)
        compared += 1
    assert compared == (6 if count == 1 else 4)


def test_tied_tensors_are_counted_once():
    states = list(inputs(3))
    assert states[0]["llm.lm_head.weight"].data_ptr() == states[0]["llm.model.embed_tokens.weight"].data_ptr()
    found = average(states)
    mean = torch.stack([state["llm.lm_head.weight"] for state in states]).mean(0)
    for key in TIED:
        torch.testing.assert_close(found[key], mean, rtol=0, atol=1e-6)
    recorded = torch.load(FOLDER / "avg_out_3.pth", weights_only=True)["llm.lm_head.weight"]
    assert (recorded - mean).abs().max() > 0.1
