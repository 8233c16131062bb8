"""What is trained and what is frozen. Frozen means frozen: no gradient, eval mode, no optimiser state."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from fnmatch import fnmatchcase

from torch import nn
from transformers.modeling_layers import GradientCheckpointingLayer

from llama_avsr.model.quantisation import is_quantised

WHOLES = {
    "encoder": "encoders.*",
    "compressor": "compressors.*",
    "projector": "projectors.*",
    "llm": "llm.*",
}
PUBLISHED_NAMES = {"peft_llm": "llm.*lora_*", "lora_avhubert": "encoders.*.lora_*"}


def is_trained(module: nn.Module) -> bool:
    return any(parameter.requires_grad for parameter in module.parameters())


def unfreeze(model: nn.Module, names: Sequence[str]) -> None:
    """Train the parameters that `names` select, in float32.

    names: wholes ("encoder", "compressor", "projector", "llm"), the published names ("peft_llm",
        "lora_avhubert"), or patterns of parameter names (`encoders.video.*layers.11.*`).

    Raises ValueError for a name that selects nothing, or quantised weights.
    """
    parameters = dict(model.named_parameters())
    for name in names:
        pattern = {**WHOLES, **PUBLISHED_NAMES}.get(name, name)
        chosen = [key for key in parameters if fnmatchcase(key, pattern) or key.startswith(f"{name}.")]
        if not chosen:
            parts = sorted({".".join(key.split(".")[:2]) for key in parameters})
            raise ValueError(
                f"--unfrozen_modules {name}: no parameter is called so; take {', '.join(WHOLES)}, "
                f"{', '.join(PUBLISHED_NAMES)}, or a pattern below {', '.join(parts)}"
            )
        if rounded := [key for key in chosen if is_quantised(parameters[key])]:
            raise ValueError(
                f"--unfrozen_modules {name} would train weights that --quantization rounds ({rounded[0]}): "
                "keep one of the two, or train the adapters (peft_llm)"
            )
        for key in chosen:
            _train(parameters[key])
    _widen_buffers(model)


def train_new(model: nn.Module, new: Collection[str]) -> None:
    """Train the parameters that no pretrained file holds, in float32; adapters, which start as the identity,
    only where they are asked for (`unfreeze`)."""
    for key, parameter in model.named_parameters():
        if key in new and not any(fnmatchcase(key, pattern) for pattern in PUBLISHED_NAMES.values()):
            _train(parameter)
    _widen_buffers(model)


def _train(parameter: nn.Parameter) -> None:
    parameter.requires_grad_(True)
    parameter.data = parameter.data.float()


def _widen_buffers(model: nn.Module) -> None:
    for module in model.modules():
        if any(parameter.requires_grad for parameter in module.parameters(recurse=False)):
            for buffer in module.buffers(recurse=False):  # BatchNorm wants statistics like its weights
                buffer.data = buffer.data.float() if buffer.is_floating_point() else buffer.data


def trained_names(model: nn.Module) -> set[str]:
    """State-dict keys that training changes: trained parameters, and the statistics of their modules."""
    persistent = model.state_dict(keep_vars=True).keys()
    names = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    for name, module in model.named_modules():
        if is_trained(module):
            names |= {f"{name}.{key}" for key, _ in module.named_buffers(recurse=False)}
    return names & persistent


def set_training_mode(model: nn.Module, mode: bool) -> None:
    """Training mode for modules whose parameters are all trained, and for LoRA's dropout; else eval mode."""
    nn.Module.train(model, False)
    if not mode:
        return
    model.training = True
    _train_below(model)
    for module in model.modules():
        if hasattr(module, "lora_dropout") and is_trained(module):
            module.lora_dropout.train()
        elif isinstance(module, GradientCheckpointingLayer) and module.gradient_checkpointing:
            # transformers recomputes activations of layers in training mode only.
            module.training = True


def _train_below(module: nn.Module) -> None:
    for child in module.children():
        parameters = list(child.parameters())
        if parameters and all(parameter.requires_grad for parameter in parameters):
            child.train()
        elif parameters:
            _train_below(child)
