"""From compressed speech to the LLM's embedding space."""

from __future__ import annotations

from torch import nn


def make_projector(in_dim: int, hidden_dim: int, out_dim: int, layer_norm: bool = False) -> nn.Sequential:
    """Linear, ReLU, Linear [, LayerNorm], as in Llama-AVSR: [B, K, in_dim] -> [B, K, out_dim]."""
    layers = [nn.Linear(in_dim, hidden_dim), nn.ReLU(), nn.Linear(hidden_dim, out_dim)]
    if layer_norm:
        layers.append(nn.LayerNorm(out_dim))
    return nn.Sequential(*layers)
