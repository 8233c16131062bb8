"""A linear layer whose weights are 8-bit integers with one scale a row.

LLM.int8() also rounds activations, but for the features that are large anywhere in the batch; which ones
depends on the other clips, and so would every result. Here weights alone are rounded: they are multiplied in
the precision of the computation, as 4-bit weights are.

Letters: O outputs, I inputs.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

LARGEST = 127
"""What the largest weight of a row is stored as."""


class Int8Linear(nn.Linear):
    """weight: int8 [O, I]; scales: float32 [O], the largest weight of each row; bias: [O] or None."""

    def __init__(self, weight: Tensor, scales: Tensor, bias: nn.Parameter | None = None) -> None:
        super().__init__(weight.shape[1], weight.shape[0], bias=False, device="meta")
        self.weight = nn.Parameter(weight, requires_grad=False)
        self.bias = bias
        self.register_buffer("scales", scales, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return _Product.apply(x, self.weight, self.scales, self.bias)

    def dequantised(self) -> Tensor:
        """The weights as numbers, float32 [O, I]."""
        return _dequantise(self.weight, self.scales)


class _Product(torch.autograd.Function):
    """Unpacks the weights in both passes: kept from one to the other, they would take what 8 bits save."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, scales: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(weight, scales)
        kind = x.device.type
        dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else x.dtype
        bias = None if bias is None else bias.to(dtype)
        return functional.linear(x.to(dtype), _dequantise(weight, scales).to(dtype), bias)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        weight, scales = ctx.saved_tensors
        return gradient @ _dequantise(weight, scales).to(gradient.dtype), None, None, None


def _dequantise(weight: Tensor, scales: Tensor) -> Tensor:
    return weight * (scales / LARGEST)[:, None]
