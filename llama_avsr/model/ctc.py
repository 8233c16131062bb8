"""A CTC loss between speech tokens and the embeddings of the words they hold.

It pulls a projector's output to where the LLM already knows what to make of it, which a small data set
teaches slowly through the LLM alone. Letters: B clips, K speech tokens, D LLM width, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from datamodules.batch import Padded

SHARPNESS = 10.0
"""Logit of a speech token that equals the embedding of a word."""


def ctc_loss(tokens: Padded, targets: Sequence[Tensor], table: Tensor, blank: int) -> Tensor:
    """Negative log-likelihood of each clip's targets, in their order, as what its speech tokens hold, [B].

    The classes are the LLM's tokens; a logit is the product of a speech token and a token's embedding. A clip
    with fewer speech tokens than targets costs nothing.

    tokens: [B, K, D]. targets: token ids [n] of each clip. table: [V, D]; blank: its row for "nothing".
    """
    rows = table.detach().to(tokens.values.dtype)
    logits = functional.linear(tokens.zeroed().values, rows).float()
    # A speech token that equals a word's embedding has this logit, however large embeddings are.
    logits = logits * (SHARPNESS / (table.shape[1] * table.detach().float().var()))
    # All that no clip says is one class: CTC's backward pass takes seconds for a whole vocabulary.
    said = torch.cat(list(targets))
    classes = torch.unique(torch.cat([said, torch.tensor([blank])]))
    is_said = torch.zeros(len(table), dtype=torch.bool)
    is_said[classes] = True
    rest = logits.masked_fill(is_said.to(logits.device), -torch.inf).logsumexp(-1, keepdim=True)
    said_logits = logits.index_select(-1, classes.to(logits.device))
    return functional.ctc_loss(
        torch.cat([said_logits, rest], -1).log_softmax(-1).transpose(0, 1),
        torch.searchsorted(classes, said).to(logits.device),
        tokens.lengths,
        torch.tensor([len(target) for target in targets]),
        blank=int(torch.searchsorted(classes, blank)),
        reduction="none",
        zero_infinity=True,
    )
