"""A CTC loss between speech tokens and the embeddings of the words they hold.

It pulls a projector's output to where the LLM already knows what to make of it, which a small data set
teaches slowly through the LLM alone. Letters: B clips, K speech tokens, D LLM width, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx
from torch.nn import functional
from torch.utils.weak import WeakTensorKeyDictionary

from datamodules.batch import Padded

SHARPNESS = 10.0
"""Logit of a speech token that equals the embedding of a word."""
ROWS_AT_ONCE = 8192
"""Of the vocabulary: no more logits than of these are in memory."""
_scales: WeakTensorKeyDictionary = WeakTensorKeyDictionary()
"""Of tables, with the version that they are for: one that is trained changes."""


def ctc_loss(tokens: Padded, targets: Sequence[Tensor], table: Tensor, blank: int) -> Tensor:
    """Negative log-likelihood of each clip's targets, in their order, as what its speech tokens hold, [B].

    The classes are the LLM's tokens; a logit is the product of a speech token and a token's embedding. A clip
    with fewer speech tokens than targets costs nothing.

    tokens: [B, K, D]. targets: token ids [n] of each clip. table: [V, D]; blank: its row for "nothing".
    """
    rows = table.detach().to(tokens.values.dtype)
    scaled = tokens.zeroed().values * _scale(table)
    # All that no clip says is one class: CTC's backward pass takes seconds for a whole vocabulary.
    said = torch.cat(list(targets))
    classes = torch.unique(torch.cat([said, torch.tensor([blank])]))
    places = classes.to(rows.device)
    rest = _Unsaid.apply(scaled.flatten(0, 1), rows, places).unflatten(0, scaled.shape[:2])
    said_logits = functional.linear(scaled, rows[places]).float()
    return functional.ctc_loss(
        torch.cat([said_logits, rest], -1).log_softmax(-1).transpose(0, 1),
        torch.searchsorted(classes, said).to(rows.device),
        tokens.lengths,
        torch.tensor([len(target) for target in targets]),
        blank=int(torch.searchsorted(classes, blank)),
        reduction="none",
        zero_infinity=True,
    )


def _scale(table: Tensor) -> float:
    """What makes the logit of a speech token that equals a word's embedding SHARPNESS."""
    version, scale = _scales.get(table, (None, 0.0))
    if version != table._version:
        scale = SHARPNESS / (table.shape[1] * float(table.detach().float().var()))
        _scales[table] = (table._version, scale)
    return scale


class _Unsaid(torch.autograd.Function):
    """The logsumexp [N, 1] of the products of vectors [N, D] with all rows [V, D] but those `left_out` [n].

    The gradient is the mean of the rows, weighted by their probabilities; it is made on the way, so that the
    logits of a vocabulary are neither kept nor computed twice.
    """

    @staticmethod
    def forward(ctx: FunctionCtx, vectors: Tensor, rows: Tensor, left_out: Tensor) -> Tensor:
        """All sums are relative to the largest logit so far."""
        largest = torch.full((len(vectors), 1), torch.finfo(torch.float32).min, device=vectors.device)
        total = torch.zeros_like(largest)
        mean = torch.zeros(vectors.shape, device=vectors.device) if vectors.requires_grad else None
        for start in range(0, len(rows), ROWS_AT_ONCE):
            own = rows[start : start + ROWS_AT_ONCE]
            logits = functional.linear(vectors, own).float()
            inside = left_out[(left_out >= start) & (left_out < start + ROWS_AT_ONCE)]
            logits[:, inside - start] = -torch.inf
            before, largest = largest, torch.maximum(largest, logits.amax(1, keepdim=True))
            weights = logits.sub_(largest).exp_()
            kept = (before - largest).exp()
            total = total * kept + weights.sum(1, keepdim=True)
            if mean is not None:
                mean = mean * kept + (weights.to(own.dtype) @ own).float()
        if mean is not None:
            ctx.save_for_backward(mean / total)
            ctx.dtype = vectors.dtype
        return largest + total.log()

    @staticmethod
    def backward(ctx: FunctionCtx, gradient: Tensor) -> tuple[Tensor, None, None]:
        (mean,) = ctx.saved_tensors
        return (gradient * mean).to(ctx.dtype), None, None
