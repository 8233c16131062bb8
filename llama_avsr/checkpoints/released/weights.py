"""Putting a release's tensors into a model, and counting what it brings."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from llama_avsr.checkpoints.integrity import check_finite
from llama_avsr.model.speech_llm import SpeechLLM

TOKEN_MATRICES = ("llm.model.embed_tokens.weight", "llm.lm_head.weight")


@dataclass(frozen=True)
class Imported:
    """How the file's tensors compare with the pretrained ones."""

    new: int
    """Not in any pretrained file: projectors, LoRA, rows of added tokens."""
    different: int
    equal: int
    """Equal once the pretrained ones are rounded to the file's precision."""

    def __str__(self) -> str:
        return (
            f"{self.new} tensors of its own, {self.different} that differ from the pretrained files, "
            f"{self.equal} that are equal to them"
        )


def check_names(own: Collection[str], state: Collection[str], may_lack: Collection[str], name: str) -> None:
    """Raises ValueError for tensors that are missing (but for `may_lack`) or that fit nowhere."""
    missing, unexpected = sorted(set(own) - set(state) - set(may_lack)), sorted(set(state) - set(own))
    if missing or unexpected:
        raise ValueError(
            f"{name} does not fit these flags: missing {missing[:3] or 'nothing'}, "
            f"unexpected {unexpected[:3] or 'nothing'}"
        )


def copy_into(model: SpeechLLM, state: dict[str, Tensor], keep_equal: bool) -> Imported:
    """state: the release's tensors by the model's names.
    keep_equal: leave the pretrained weights where the file's are the same, rounded.
    Raises ValueError for weights that are not finite."""
    check_finite(state, "the published file")
    own = model.state_dict(keep_vars=True)
    counts = {"new": 0, "different": 0, "equal": 0}
    first_added = min(model.vocabulary.added, default=None)
    with torch.no_grad():
        for key, value in state.items():
            # A token matrix is compared without the added rows, which a checkpoint keeps by themselves.
            rows = slice(0, first_added) if key in TOKEN_MATRICES else ...
            same = torch.equal(own[key].detach()[rows].to(value.dtype), value[rows])
            if key in model.changed:
                counts["new"] += 1
            elif same:
                counts["equal"] += 1
            else:
                counts["different"] += 1
                model.changed.add(key)
            if not (same and keep_equal):
                own[key].copy_(value)
            elif key in TOKEN_MATRICES and first_added is not None:
                own[key][first_added:] = value[first_added:].to(own[key].dtype)
    return Imported(**counts)


def has_parameter(model: nn.Module, key: str) -> bool:
    try:
        model.get_parameter(key)
    except AttributeError:
        return False
    return True


def narrow(value: Tensor) -> Tensor:
    """In bf16 where that loses nothing: so the releases are stored."""
    narrow = value.to(torch.bfloat16)
    return narrow if value.is_floating_point() and torch.equal(narrow.to(value.dtype), value) else value
