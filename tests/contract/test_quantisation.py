"""Quantised LLMs keep the promises of the others, whatever the architecture."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast
from transformers.pytorch_utils import Conv1D

from llama_avsr.checkpoints import export
from llama_avsr.checkpoints import folder as checkpoint
from llama_avsr.model.decoding import BeamSearch
from llama_avsr.model.llm import load_llm
from llama_avsr.model.lora import linear_names
from llama_avsr.model.quantisation import dequantised_weights, is_quantised
from llama_avsr.model.speech_llm import SpeechLLM
from llama_avsr.options import to_dict
from tests import models, tiny

PROMPT = "transcribe speech to text ."
MODES = ("8bit", "nf4")
WIDE = {
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
    "initializer_range": 0.1,
    "pad_token_id": 0,
}
KINDS = {
    "llama": {},
    "qwen2": {},
    "gpt2": {"n_embd": 64, "n_layer": 2, "n_head": 4, "n_positions": 128},
}
NF4_STEP = 0.153
"""Half the widest gap between two of nf4's values, as a share of the largest weight of the block."""
NF4_BLOCK = 64


@dataclass(frozen=True)
class Made:
    folders: dict[str, str]
    mode: str

    def build(self, mode: str | None = None, **more: object) -> SpeechLLM:
        more = {"lora_targets": ("all-linear",), "quantization": mode or self.mode, **more}
        return models.build(self.folders, "audio", **more)


@pytest.fixture(scope="module", params=KINDS)
def folders(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    root = Path(tmp_path_factory.mktemp(request.param))
    torch.manual_seed(0)
    tiny.llm(root / "llm")
    size = len(PreTrainedTokenizerFast.from_pretrained(root / "llm"))
    settings = {**WIDE, **KINDS[request.param], "vocab_size": size, "bos_token_id": 0, "eos_token_id": 1}
    llm = AutoModelForCausalLM.from_config(AutoConfig.for_model(request.param, **settings))
    with torch.no_grad():
        for layer in llm.modules():  # biases start at zero, where a lost one would not be missed
            if isinstance(layer, nn.Linear | Conv1D) and layer.bias is not None:
                layer.bias.normal_(std=0.1)
    llm.save_pretrained(root / "llm")
    return {
        "llm": str(root / "llm"),
        "whisper": tiny.whisper(root / "whisper"),
        "av_hubert": "unused",
    }


@pytest.fixture(params=MODES)
def made(request: pytest.FixtureRequest, folders: dict[str, str]) -> Made:
    return Made(folders, request.param)


def linear_weights(llm: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Those of the blocks, as [out, in]."""
    for name, layer in llm.named_modules():
        if isinstance(layer, nn.Linear | Conv1D) and layer is not llm.get_output_embeddings():
            yield f"{name}.weight", layer.weight.T if isinstance(layer, Conv1D) else layer.weight


def test_linear_layers_are_rounded_and_nothing_else(made: Made) -> None:
    plain = load_llm(made.folders["llm"])
    quantised = load_llm(made.folders["llm"], quantization=made.mode)
    assert linear_names(quantised) == linear_names(plain)
    rounded, parameters = dequantised_weights(quantised), dict(quantised.named_parameters())
    linear = dict(linear_weights(plain))
    assert rounded.keys() == linear.keys()
    assert rounded
    for key, expected in plain.named_parameters():
        if key not in rounded:
            assert torch.equal(parameters[key], expected), key
            continue
        assert is_quantised(parameters[key])
        assert rounded[key].shape == expected.shape
        weight = linear[key].contiguous()
        turned = isinstance(plain.get_submodule(key.removesuffix(".weight")), Conv1D)
        error = (rounded[key].T if turned else rounded[key]) - weight
        if made.mode == "8bit":
            largest = weight.abs().amax(dim=1, keepdim=True)
            bound = largest * (0.5 / 127 + 2**-11)
        else:
            largest = weight.reshape(-1, NF4_BLOCK).abs().amax(dim=1, keepdim=True)
            bound = (largest * (NF4_STEP + 0.05)).expand(-1, NF4_BLOCK).reshape(weight.shape)
        assert (error.abs() <= bound).all(), key
        assert error.abs().max() > 0


def test_loss_is_that_of_the_rounded_weights(made: Made) -> None:
    """Loss and gradients as in the plain model that has its weights; the loss close to the unrounded."""
    model, plain = made.build(), made.build("none")
    batch = models.joined(models.clips(model, PROMPT))

    def mean(of: SpeechLLM) -> Tensor:
        of.zero_grad()
        loss = of.loss(batch)
        loss.cross_entropy.backward()
        return loss.cross_entropy.detach() / loss.num_tokens

    found, unrounded = mean(model), mean(plain)
    weights = plain.llm.state_dict()
    for key, value in dequantised_weights(model.llm).items():
        weights[key].copy_(value)
    torch.testing.assert_close(found, mean(plain), atol=1e-5, rtol=1e-5)
    gradients = {name: p.grad for name, p in plain.named_parameters() if p.requires_grad}
    assert gradients
    for name, gradient in gradients.items():
        torch.testing.assert_close(model.get_parameter(name).grad, gradient, atol=1e-3, rtol=1e-3)
    assert (found - unrounded).abs() < {"8bit": 0.02, "nf4": 0.5}[made.mode]
    assert not torch.equal(found, unrounded)


def test_a_step_moves_adapters_and_projectors_alone(made: Made) -> None:
    model = made.build(lora_dropout=0.1)
    model.train()
    before = {key: value.detach().clone() for key, value in model.state_dict().items()}
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    assert {parameter.dtype for parameter in trained} == {torch.float32}
    optimiser = torch.optim.AdamW(trained, lr=0.01)
    batch = models.joined(models.clips(model, PROMPT))
    losses = []
    for _ in range(4):
        loss = model.loss(batch)
        losses.append(float(loss.cross_entropy.detach()))
        optimiser.zero_grad()
        (loss.cross_entropy / loss.num_tokens).backward()
        optimiser.step()
    assert losses[-1] < losses[0]
    after = model.state_dict()
    assert after.keys() == before.keys()
    moved = {key for key in before if not torch.equal(before[key], after[key])}
    assert moved == {key for key in before if "lora_" in key or key.startswith("projectors.")}


def test_evaluation_computes_what_training_does(made: Made) -> None:
    """bitsandbytes has a second form of 4-bit weights for evaluation, which training could not read."""
    model = made.build()
    batch = models.joined(models.clips(model, PROMPT))
    model.train()
    before = model.loss(batch).cross_entropy.detach()
    model.eval()
    model.generate(batch, BeamSearch(num_beams=2, max_new_tokens=3))
    with torch.no_grad():
        evaluated = model.loss(batch).cross_entropy
    model.train()
    assert torch.equal(evaluated, before)
    assert torch.equal(model.loss(batch).cross_entropy.detach(), before)


def test_checkpoints_are_those_of_an_unquantised_model(made: Made, tmp_path: Path) -> None:
    model = made.build()
    state = checkpoint.saved_state(model)
    assert state.keys() == checkpoint.saved_state(made.build("none")).keys()
    assert all(value.is_floating_point() for value in state.values())
    batch = models.joined(models.clips(model, PROMPT))
    expected = model.loss(batch).cross_entropy.detach()
    checkpoint.write(tmp_path / "average", state, {})
    other = made.build(seed=7)
    assert not torch.equal(other.loss(batch).cross_entropy, expected)
    checkpoint.load_saved_state(other, checkpoint.read_state(tmp_path / "average"))
    assert torch.equal(other.loss(batch).cross_entropy, expected)


def test_batched_equals_single(made: Made) -> None:
    model = made.build()
    alone = models.clips(model, PROMPT)
    together = models.joined(alone)
    losses = torch.stack([model.loss(batch).cross_entropy for batch in alone])
    torch.testing.assert_close(model.loss(together).cross_entropy, losses.sum(), atol=1e-4, rtol=1e-5)
    search = BeamSearch(num_beams=3, max_new_tokens=6, num_best=2)
    for batch, nbest in zip(alone, model.generate(together, search), strict=True):
        (single,) = model.generate(batch, search)
        assert [hypothesis.ids for hypothesis in nbest] == [hypothesis.ids for hypothesis in single]
        for one, other in zip(nbest, single, strict=True):
            assert one.score == pytest.approx(other.score, abs=1e-4)


def test_gradient_checkpointing_changes_nothing(made: Made) -> None:
    gradients = []
    for switch in (False, True):
        model = made.build(gradient_checkpointing=switch)
        model.train()
        model.loss(models.joined(models.clips(model, PROMPT))).cross_entropy.backward()
        gradients.append({n: p.grad for n, p in model.named_parameters() if p.requires_grad})
        layers = [m for m in model.llm.modules() if getattr(m, "gradient_checkpointing", False)]
        assert bool(layers) == switch
    assert gradients[0]
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], gradient, atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_exports(made: Made, tmp_path: Path) -> None:
    from safetensors.torch import load_file

    model = made.build()
    options = models.options(made.folders, "audio", quantization=made.mode, lora_targets=("all-linear",))
    checkpoint.write(tmp_path / "average", checkpoint.saved_state(model), to_dict(options))
    export.export_merged(tmp_path / "average", tmp_path / "merged")
    merged = AutoModelForCausalLM.from_pretrained(tmp_path / "merged")
    assert not any(map(is_quantised, merged.parameters()))
    ids = torch.tensor([[0, 5, 9, 3, 11, 2]])
    torch.testing.assert_close(merged(ids).logits, model.llm(ids).logits, atol=1e-4, rtol=1e-4)

    export.export_adapters(tmp_path / "average", tmp_path / "adapters")
    adapters = load_file(tmp_path / "adapters" / "adapter_model.safetensors")
    expected = {key: value for key, value in model.llm.state_dict().items() if "lora_" in key}
    assert len(adapters) == len(expected) > 0
    for key, value in expected.items():
        exported = key.replace(".default", "")
        assert torch.equal(adapters[f"base_model.model.{exported}"], value)
