"""The memory estimate: what it counts, and how it is shared out among GPUs."""

from __future__ import annotations

import pytest
import torch

from benchmarks import memory
from benchmarks.memory_check import BASE
from benchmarks.shapes import batch_of, llm_config, model_of
from benchmarks.step_memory import ACTIVATIONS, GRADIENTS, LOGITS, STATES, Ledger, step_memory
from llama_avsr.options import Options

TINY = Options().updated(
    {**BASE, "llm_model": "tiny", "audio_encoder_name": "openai/whisper-tiny", "intermediate_size": 32}
)


def test_ledger_counts_what_is_alive() -> None:
    with Ledger(vocabulary_size=7) as ledger:
        first = torch.empty(10, device="meta")
        logits = torch.empty(2, 7, device="meta")
        del logits
        second = first.view(2, 5) + 1
    assert ledger.live == {"activations": 80, "logits": 0}
    assert ledger.most == {"activations": 40, "logits": 56}
    assert second.shape == (2, 5)


@pytest.mark.parametrize("changed", [{}, {"quantization": "8bit"}, {"quantization": "nf4"}])
def test_step(changed: dict[str, str]) -> None:
    found = {}
    for checkpointing in (False, True):
        options = TINY.updated({"gradient_checkpointing": checkpointing, **changed})
        model = model_of(options, "meta", torch.bfloat16)
        batch = batch_of(model, [50] * 4, [400] * 4, 8, device="meta")
        found[checkpointing] = step_memory(model, batch, torch.bfloat16)
    trained = sum(p.nbytes for p in model.parameters() if p.requires_grad)
    assert all(step[STATES] == 2 * trained for step in found.values())
    assert all(0 <= step[GRADIENTS] <= trained for step in found.values())
    assert found[True][ACTIVATIONS] + found[True][LOGITS] < found[False][ACTIVATIONS] + found[False][LOGITS]


def test_quantised_weights_are_small() -> None:
    sizes = {}
    for mode in ("none", "8bit", "nf4"):
        model = model_of(TINY.updated({"quantization": mode}), "meta", torch.bfloat16)
        sizes[mode] = memory.parts(model, {}).layers
    assert sizes["none"] > 1.8 * sizes["8bit"] > 3 * sizes["nf4"]


def test_shares_of_a_gpu() -> None:
    whole = memory.Parts(
        llm=1000,
        encoders=50,
        trained=80,
        step={GRADIENTS: 80, STATES: 160, ACTIVATIONS: 300, LOGITS: 20},
        layers=800,
        largest_layer=100,
    )
    assert sum(whole.on(1, "ddp").values()) == 1690
    assert sum(whole.on(8, "ddp").values()) == 1690 + 80
    assert whole.on(64, "fsdp2") == whole.on(8, "fsdp2")
    sharded = whole.on(4, "fsdp2")
    assert sharded.pop("LLM") == 200 + 800 // 4 + 3 * 100
    assert sharded == {name: size for name, size in whole.on(4, "ddp").items() if name != "LLM"}


def test_unknown_shape_is_told() -> None:
    with pytest.raises(ValueError, match=r"--llm-model x/none: expected .* Llama-3.2-1B"):
        llm_config("x/none")


def test_report_of_a_recipe() -> None:
    recipe = memory.Path(__file__).parents[2] / "recipes" / "llama_avsr" / "asr_433h.yaml"
    flags = [
        "--llm-model",
        "tiny",
        "--audio-encoder-name",
        "openai/whisper-tiny",
        "--whisper-padding",
        "none",
    ]
    text = memory.report(memory.options_of(recipe, flags), clip_seconds=2.0, tokens_a_second=4.0)
    assert "64 GPUs, fsdp2" in text
    assert text.count("| **sum** |") == 2
