"""LoRA on the LLM (Hu et al., 2021), through peft."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import nn
from transformers import PreTrainedModel

if TYPE_CHECKING:
    from peft.tuners.lora import LoraLayer

ALL_LINEAR = "all-linear"
SHARED = "default"
"""What PEFT calls an adapter without a name: here, the one of all tasks."""


@dataclass(frozen=True, kw_only=True)
class Lora:
    rank: int
    alpha: float
    """The update is scaled by alpha / rank."""
    dropout: float
    targets: tuple[str, ...]
    """Names of the adapted linear layers, or "all-linear"."""


def add_lora(llm: PreTrainedModel, lora: Lora, names: Sequence[str] = (SHARED,)) -> None:
    """Add zero-initialised adapters in place, all of them active; they are the LLM's only trainable
    parameters.

    Raises ValueError naming the LLM's linear layers where a target matches none of them.
    """
    from peft import LoraConfig  # it imports bitsandbytes, which takes seconds

    present = linear_names(llm)
    if not present:
        raise ValueError("--add_PETF_LLM lora: this LLM has no linear layers that can be adapted")
    unknown = [target for target in lora.targets if target not in (*present, ALL_LINEAR)]
    if unknown:
        raise ValueError(
            f"--lora-targets {' '.join(unknown)}: this LLM has no such layer; it has {', '.join(present)} "
            f"(or {ALL_LINEAR})"
        )
    targets = whole_names(llm) if ALL_LINEAR in lora.targets else list(lora.targets)
    for adapter in names:
        config = LoraConfig(
            r=lora.rank,
            lora_alpha=lora.alpha,
            lora_dropout=lora.dropout,
            target_modules=targets,
            task_type="CAUSAL_LM",
        )
        try:
            with warnings.catch_warnings():
                # It is that of the adapter before.
                warnings.filterwarnings("ignore", message="Already found a `peft_config`")
                llm.add_adapter(config, adapter)
        except ValueError as error:  # peft knows layers that it cannot adapt
            raise ValueError(f"--lora-targets {' '.join(lora.targets)}: {error}") from error
    activate(llm, names)
    for name, parameter in llm.named_parameters():
        parameter.requires_grad = "lora_" in name
        if parameter.requires_grad:
            parameter.data = parameter.data.float()


def activate(llm: nn.Module, names: Sequence[str]) -> None:
    """Have the LLM use these of its adapters, summed. What is trained stays as it is: `set_adapter` would
    freeze the others."""
    for layer in _lora_layers(llm):
        layer._active_adapter = list(names)


class Activated:
    """A context, to be entered as often as need be, in which these adapters are active."""

    def __init__(self, llm: nn.Module, names: Sequence[str]) -> None:
        self.llm, self.names = llm, names
        self.before: Sequence[str] = ()

    def __enter__(self) -> None:
        self.before = active(self.llm)
        activate(self.llm, self.names)

    def __exit__(self, *error: object) -> None:
        activate(self.llm, self.before)


def active(llm: nn.Module) -> Sequence[str]:
    """Names of the adapters in use."""
    return next((layer.active_adapters for layer in _lora_layers(llm)), ())


def _lora_layers(llm: nn.Module) -> Iterator[LoraLayer]:
    if getattr(llm, "_hf_peft_config_loaded", False):
        from peft.tuners.lora import LoraLayer  # takes seconds, and an LLM without adapters needs none

        yield from (layer for layer in llm.modules() if isinstance(layer, LoraLayer))


def recomputed(llm: nn.Module) -> tuple[AbstractContextManager, AbstractContextManager]:
    """Contexts of a pass and of its recomputation: the backward pass comes when others are active."""
    return nullcontext(), Activated(llm, active(llm))


def linear_names(llm: PreTrainedModel) -> Sequence[str]:
    """Last names of the linear layers inside the LLM's blocks that can be adapted, sorted."""
    return sorted({name.rsplit(".", 1)[-1] for name in whole_names(llm)})


def whole_names(llm: PreTrainedModel) -> list[str]:
    """Names of the linear layers inside the LLM's blocks, without the head and without routers."""
    head, modules = llm.get_output_embeddings(), dict(llm.named_modules())
    return [
        name
        for name, module in modules.items()
        if module is not head
        and _is_linear(module)
        and not _routes(name, modules)
        and not _read_by_a_kernel(name, modules)
    ]


def _read_by_a_kernel(name: str, modules: Mapping[str, nn.Module]) -> bool:
    """Whether a kernel takes the layer's weight for itself, past any adapter, as Mamba's do."""
    parent, _, last = name.rpartition(".")
    return last in ("out_proj", "dt_proj") and hasattr(modules.get(parent), "conv1d")


def _is_linear(module: nn.Module) -> bool:
    return isinstance(module, nn.Linear) or type(module).__name__ == "Conv1D"


def _routes(name: str, modules: Mapping[str, nn.Module]) -> bool:
    """Whether a linear layer chooses among experts: its answer is a choice (and, in some LLMs, no tensor).

    Such a layer stands beside the experts, or in the router that does, and has an output for each of them
    (or one, for the experts that all tokens share).
    """
    layer, parts = modules[name], name.split(".")
    for depth in (1, 2):
        block = modules.get(".".join(parts[:-depth]))
        experts = getattr(block, "experts", None)
        if experts is None or parts[-depth] == "experts":
            continue
        # A class of the model's own, with another answer than a linear layer's.
        if depth == 1 and type(layer).__module__.startswith("transformers.models."):
            return True
        count = len(experts) if isinstance(experts, nn.ModuleList) else getattr(experts, "num_experts", None)
        if getattr(layer, "out_features", None) in (1, count):
            return True
    return False
