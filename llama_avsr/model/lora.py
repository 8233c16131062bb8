"""LoRA on the LLM (Hu et al., 2021), through peft."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from peft import LoraConfig
from torch import nn
from transformers import PreTrainedModel

ALL_LINEAR = "all-linear"


@dataclass(frozen=True, kw_only=True)
class Lora:
    rank: int
    alpha: float
    """The update is scaled by alpha / rank."""
    dropout: float = 0.0
    targets: tuple[str, ...] = ("q_proj", "v_proj")
    """Names of the adapted linear layers, or "all-linear"."""


def add_lora(llm: PreTrainedModel, lora: Lora) -> None:
    """Add zero-initialised adapters in place; they are the LLM's only trainable parameters.

    Raises ValueError naming the LLM's linear layers where a target matches none of them.
    """
    present = linear_names(llm)
    unknown = [target for target in lora.targets if target not in (*present, ALL_LINEAR)]
    if unknown:
        raise ValueError(
            f"--lora-targets {' '.join(unknown)}: this LLM has no such layer; it has {', '.join(present)} "
            f"(or {ALL_LINEAR})"
        )
    targets: str | list[str] = ALL_LINEAR if ALL_LINEAR in lora.targets else list(lora.targets)
    llm.add_adapter(
        LoraConfig(
            r=lora.rank,
            lora_alpha=lora.alpha,
            lora_dropout=lora.dropout,
            target_modules=targets,
            task_type="CAUSAL_LM",
        )
    )
    for name, parameter in llm.named_parameters():
        parameter.requires_grad = "lora_" in name
        if parameter.requires_grad:
            parameter.data = parameter.data.float()


def linear_names(llm: PreTrainedModel) -> Sequence[str]:
    """Last names of the linear layers inside the LLM's blocks, sorted."""
    head = llm.get_output_embeddings()
    return sorted(
        {
            name.rsplit(".", 1)[-1]
            for name, module in llm.named_modules()
            if module is not head and (isinstance(module, nn.Linear) or type(module).__name__ == "Conv1D")
        }
    )
