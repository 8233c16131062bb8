"""From compressed speech to the LLM's embedding space."""

from __future__ import annotations

from torch import nn


def make_projector(
    in_dim: int, hidden_dim: int | None, out_dim: int, layer_norm: bool = False, activation: bool = True
) -> nn.Sequential:
    """Linear, ReLU, Linear [, LayerNorm], as in Llama-AVSR: [B, K, in_dim] -> [B, K, out_dim].

    hidden_dim: None for a single Linear, as in VSP-LLM. activation: False for no ReLU, as in MMS-LLaMA.
    """
    layers: list[nn.Module] = [nn.Linear(in_dim, hidden_dim or out_dim)]
    if hidden_dim is not None:
        layers += [nn.ReLU()] if activation else []
        layers += [nn.Linear(hidden_dim, out_dim)]
    if layer_norm:
        layers.append(nn.LayerNorm(out_dim))
    return nn.Sequential(*layers)
