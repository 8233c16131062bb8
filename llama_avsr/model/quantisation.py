"""Language models in 8 or 4 bits, through bitsandbytes.

The linear layers inside the LLM's blocks are quantised while it is loaded; embeddings, head, norms and biases
stay what frozen weights are. `8bit` is LLM.int8()'s form of weights (Dettmers et al., 2022), `nf4` the 4-bit
one of QLoRA (Dettmers et al., 2023), with quantised scales. Arithmetic is that of all frozen weights.
"""

from __future__ import annotations

import copy
import importlib.util
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from transformers import BitsAndBytesConfig
from transformers.pytorch_utils import Conv1D
from transformers.quantizers import AutoHfQuantizer

from llama_avsr.model.int8 import Int8Linear

NONE, EIGHT_BIT, NF4 = "none", "8bit", "nf4"
NEEDED = ("bitsandbytes", "accelerate")
PACKED = (torch.int8, torch.uint8)
"""What quantised parameters are stored in."""


def check_quantisation(mode: str, device: torch.device) -> None:
    """Quantise a small layer on `device` and run it: what fails there would fail minutes later.

    Raises ValueError that says what is missing.
    """
    if mode == NONE:
        return
    for package in NEEDED:
        if importlib.util.find_spec(package) is None:
            raise ValueError(
                f"--quantization {mode} needs {package}, which is not installed: "
                'pip install "llama-avsr[quantization]", or leave the flag out'
            )
    try:
        arguments = loading_arguments(mode, torch.float32, device)
        AutoHfQuantizer.from_config(arguments["quantization_config"]).validate_environment()
        with torch.random.fork_rng(devices=[]):  # new weights are the same with and without
            _try_layer(mode, device)
    except Exception as error:  # whatever a library says that was built for another machine
        first = (str(error).strip() or type(error).__name__).split("\n")[0]
        raise ValueError(
            f"--quantization {mode} does not run here on {device} ({first}); see `python -m bitsandbytes`, "
            "or leave the flag out"
        ) from error


def loading_arguments(mode: str, dtype: torch.dtype, device: torch.device) -> dict[str, Any]:
    """Arguments of `from_pretrained` that quantise on the way to `device`. dtype: of the arithmetic."""
    if mode == NONE:
        return {}
    if mode == EIGHT_BIT:
        config = BitsAndBytesConfig(load_in_8bit=True)
    else:
        config = BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type=mode,
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=dtype,
        )
    return {"quantization_config": config, "device_map": {"": device}}


def settle(llm: nn.Module) -> None:
    """Make a quantised LLM compute the same in evaluation as in training, in a batch as alone.

    Raises ValueError for layers that bitsandbytes would read back wrongly.
    """
    for name, module in list(llm.named_modules()):
        if type(module).__name__ == "Linear8bitLt":
            layer = Int8Linear(module.weight.data, module.weight.SCB, module.bias)
            layer.source_cls = getattr(module, "source_cls", nn.Linear)
            llm.set_submodule(name, layer)
        elif hasattr(module, "support_avx512bf16_for_cpu"):
            _check_readable(name, module)
            # On such CPUs a layer in eval mode would pack its weights anew, with coarser scales, into a form
            # that has no gradient; and frozen layers are always in eval mode.
            module.support_avx512bf16_for_cpu = False


def _check_readable(name: str, layer: nn.Module) -> None:
    """Some CPU kernels take the scales of other blocks where rows do not end with a block of 64."""
    from bitsandbytes import functional

    state = layer.weight.quant_state
    if state is None or layer.in_features % state.blocksize == 0:
        return
    in_one_row = copy.copy(state)
    in_one_row.shape = torch.Size((1, state.shape.numel()))
    expected = functional.dequantize_4bit(layer.weight.data, in_one_row).flatten()
    if not torch.equal(functional.dequantize_4bit(layer.weight.data, state).flatten(), expected):
        raise ValueError(
            f"--quantization {NF4}: on this CPU bitsandbytes misreads layers whose width is no multiple of "
            f"{state.blocksize} ({name}: {layer.in_features}); take a GPU, or --quantization {EIGHT_BIT}"
        )


def is_quantised(parameter: Tensor) -> bool:
    return parameter.dtype in PACKED


def scales(module: nn.Module) -> Iterator[Tensor]:
    """What bitsandbytes keeps beside the 4-bit weights of `module`, neither parameter nor buffer."""
    for _, layer in _quantised_layers(module):
        state = getattr(layer.weight, "quant_state", None)
        for part in (state, getattr(state, "state2", None)):
            found = [getattr(part, name, None) for name in ("absmax", "code", "offset")]
            yield from (tensor for tensor in found if isinstance(tensor, Tensor))


def dequantised_weights(llm: nn.Module) -> dict[str, Tensor]:
    """State-dict key -> the quantised weight as numbers, float32, in the shape that the LLM's files have."""
    found = {}
    for name, layer in _quantised_layers(llm):
        weight = layer.dequantised() if isinstance(layer, Int8Linear) else _dequantise_4bit(layer)
        # GPT-2's Conv1D is quantised transposed, as the linear layer that it is.
        found[f"{name}.weight"] = weight.T if issubclass(layer.source_cls, Conv1D) else weight
    return found


def _quantised_layers(llm: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    for name, layer in llm.named_modules():
        # Its own weight: peft's layers show that of the layer inside them.
        own = dict(layer.named_parameters(recurse=False)).get("weight")
        if own is not None and is_quantised(own):
            yield name, layer


def _dequantise_4bit(layer: nn.Module) -> Tensor:
    from bitsandbytes import functional

    return functional.dequantize_4bit(layer.weight.data, layer.weight.quant_state).float()


@torch.no_grad()
def _try_layer(mode: str, device: torch.device) -> None:
    import bitsandbytes as bnb

    if mode == EIGHT_BIT:
        layer = bnb.nn.Linear8bitLt(64, 64, has_fp16_weights=False)
    else:
        layer = bnb.nn.Linear4bit(64, 64, quant_type=mode, compute_dtype=torch.float32)
    model = nn.Sequential(layer).eval().to(device)
    settle(model)
    if not model(torch.ones(2, 64, device=device)).isfinite().all():
        raise ValueError("its arithmetic gives no finite numbers")
