"""The transformer over fused frames.

Letters: B clips, T frames (25 Hz), D width, H heads. Masks are True where a frame is padding.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from av_hubert.config import AVHubertConfig

LORA_SCALE = 2.0
LORA_DIM_PER_RANK = 16


class WeightNormConv1d(nn.Module):
    """Grouped Conv1d whose weight is g * v / ||v||, the norm taken for each tap of the kernel.

    Kept by hand: the released names are `weight_g` and `weight_v`.
    """

    def __init__(self, dim: int, kernel: int, groups: int) -> None:
        super().__init__()
        self.groups = groups
        self.kernel = kernel
        self.bias = nn.Parameter(torch.zeros(dim))
        self.weight_v = nn.Parameter(torch.empty(dim, dim // groups, kernel))
        nn.init.normal_(self.weight_v, std=(4 / (kernel * dim)) ** 0.5)
        self.weight_g = nn.Parameter(self.weight_v.detach().norm(dim=(0, 1), keepdim=True))

    def forward(self, x: Tensor) -> Tensor:
        """[B, D, T] -> [B, D, T], whether the kernel is odd or even."""
        v = self.weight_v.float()
        weight = self.weight_g.float() * v / v.norm(dim=(0, 1), keepdim=True)
        y = F.conv1d(
            x, weight.to(x.dtype), self.bias.to(x.dtype), padding=self.kernel // 2, groups=self.groups
        )
        return y[:, :, : x.shape[2]]


class SelfAttention(nn.Module):
    """Multi-head attention over valid frames, with LoRA on q and v once `add_lora` was called."""

    def __init__(self, dim: int, num_heads: int, dropout: float) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.dropout = dropout
        self.k_proj = nn.Linear(dim, dim)
        self.v_proj = nn.Linear(dim, dim)
        self.q_proj = nn.Linear(dim, dim)
        self.out_proj = nn.Linear(dim, dim)
        self.has_lora = False

    def add_lora(self, rank: int) -> None:
        """Add low-rank deltas of q and v that start at zero."""
        dim, like = self.q_proj.in_features, self.q_proj.weight
        for letter in ("Q", "V"):
            down = nn.Linear(dim, rank, bias=False, device=like.device, dtype=like.dtype)
            up = nn.Linear(rank, dim, bias=False, device=like.device, dtype=like.dtype)
            nn.init.zeros_(up.weight)
            self.add_module(f"lora_down_{letter}", down)
            self.add_module(f"lora_up_{letter}", up)
        self.has_lora = True

    def forward(self, x: Tensor, attend: Tensor | None) -> Tensor:
        """x: [B, T, D]; attend: [B, 1, 1, T], True where a key may be looked at, or None for everywhere."""
        q, k, v = self.q_proj(x), self.k_proj(x), self.v_proj(x)
        if self.has_lora:
            q = q + LORA_SCALE * self.lora_up_Q(self.lora_down_Q(x))
            v = v + LORA_SCALE * self.lora_up_V(self.lora_down_V(x))
        q, k, v = (t.unflatten(2, (self.num_heads, -1)).transpose(1, 2) for t in (q, k, v))
        dropout = self.dropout if self.training else 0.0
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=attend, dropout_p=dropout)
        return self.out_proj(y.transpose(1, 2).flatten(2))


class Layer(nn.Module):
    """Attention and feed-forward, pre- or post-norm."""

    def __init__(self, config: AVHubertConfig) -> None:
        super().__init__()
        self.layer_norm_first = config.layer_norm_first
        self.dropout = config.dropout
        self.activation_dropout = config.activation_dropout
        self.self_attn = SelfAttention(config.dim, config.num_heads, config.attention_dropout)
        self.self_attn_layer_norm = nn.LayerNorm(config.dim)
        self.fc1 = nn.Linear(config.dim, config.ffn_dim)
        self.fc2 = nn.Linear(config.ffn_dim, config.dim)
        self.final_layer_norm = nn.LayerNorm(config.dim)

    def forward(self, x: Tensor, attend: Tensor | None) -> Tensor:
        if self.layer_norm_first:
            x = x + self._drop(self.self_attn(self.self_attn_layer_norm(x), attend))
            return x + self._drop(self._feed_forward(self.final_layer_norm(x)))
        x = self.self_attn_layer_norm(x + self._drop(self.self_attn(x, attend)))
        return self.final_layer_norm(x + self._drop(self._feed_forward(x)))

    def _feed_forward(self, x: Tensor) -> Tensor:
        return self.fc2(F.dropout(F.gelu(self.fc1(x)), self.activation_dropout, self.training))

    def _drop(self, x: Tensor) -> Tensor:
        return F.dropout(x, self.dropout, self.training)


class Transformer(nn.Module):
    """Positional convolution and L layers. No branch depends on data: `torch.compile` sees one graph."""

    def __init__(self, config: AVHubertConfig) -> None:
        super().__init__()
        self.layer_norm_first = config.layer_norm_first
        self.dropout = config.dropout
        self.layer_drop = config.layer_drop
        self.gradient_checkpointing = False
        self.pos_conv = nn.Sequential(
            WeightNormConv1d(config.dim, config.conv_pos, config.conv_pos_groups), nn.GELU()
        )
        self.layers = nn.ModuleList(Layer(config) for _ in range(config.num_layers))
        self.layer_norm = nn.LayerNorm(config.dim)

    def forward(self, x: Tensor, padding_mask: Tensor | None, layer: int | None = None) -> Tensor:
        """x: [B, T, D], zeros in the padding; padding_mask: [B, T]. Returns [B, T, D].

        layer: None for the final output, k in 1..L for the raw output of layer k.
        """
        x, attend = self._embed(x, padding_mask)
        x = self._run_all(self.layers[:layer], x, attend)
        return self._finish(x) if layer is None else x

    def forward_with_layer(self, x: Tensor, padding_mask: Tensor | None, layer: int) -> tuple[Tensor, Tensor]:
        """As `forward`, in one pass: the final output and the raw output of layer k in 1..L."""
        x, attend = self._embed(x, padding_mask)
        tapped = self._run_all(self.layers[:layer], x, attend)
        return self._finish(self._run_all(self.layers[layer:], tapped, attend)), tapped

    def _embed(self, x: Tensor, padding_mask: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """The first layer's input, and where its keys may be looked at."""
        x = x + self.pos_conv(x.transpose(1, 2)).transpose(1, 2)
        if not self.layer_norm_first:
            x = self.layer_norm(x)
        x = F.dropout(x, self.dropout, self.training)
        return x, None if padding_mask is None else _attendable(padding_mask)

    def _finish(self, x: Tensor) -> Tensor:
        return self.layer_norm(x) if self.layer_norm_first else x

    def _run_all(self, blocks: nn.ModuleList, x: Tensor, attend: Tensor | None) -> Tensor:
        for block in blocks:
            x = self._run(block, x, attend)
        return x

    def _run(self, block: Layer, x: Tensor, attend: Tensor | None) -> Tensor:
        if self.gradient_checkpointing and torch.is_grad_enabled():
            y = checkpoint(block, x, attend, use_reentrant=False)
        else:
            y = block(x, attend)
        if self.training and self.layer_drop > 0:
            # A dropped layer is computed all the same: every rank then has the same graph and gradients.
            return torch.where(torch.rand((), device=x.device) < self.layer_drop, x, y)
        return y


def _attendable(padding_mask: Tensor) -> Tensor:
    """[B, T] -> [B, 1, 1, T]. A clip without any valid frame attends everywhere: no softmax over nothing."""
    is_empty = padding_mask.all(dim=1, keepdim=True)
    return (~padding_mask | is_empty)[:, None, None, :]
