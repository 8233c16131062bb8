"""The attention-sink regulariser of Llama-AVSR: hidden states should not turn into copies of BOS's."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional


def sink_loss(hidden_states: Sequence[Tensor], starts: Sequence[int]) -> Tensor:
    """Mean squared cosine between BOS and the other positions before the text, [B].

    hidden_states: embeddings and every layer's output, n + 1 tensors [B, L, D]; layers 1 .. n-1 count.
    starts: [B], each clip's first target position.
    """
    # Layer by layer: all of them in float32 would take a gigabyte at the size of real models.
    cosine = torch.stack(
        [
            functional.cosine_similarity(h[:, :1].float(), h[:, 1:].float(), dim=-1)
            for h in hidden_states[1:-1]
        ]
    )
    per_clip = [cosine[:, clip, : start - 1].square().mean() for clip, start in enumerate(starts)]
    return torch.stack(per_clip)
