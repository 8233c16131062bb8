"""Where a model's tensors come from: what no pretrained file holds must be trained, and saved."""

from __future__ import annotations

from collections.abc import Collection
from typing import TypeVar

from torch import nn

MARK = "is_pretrained"
M = TypeVar("M", bound=nn.Module)


def pretrained(module: M, missing: Collection[str] = ()) -> M:
    """Mark the tensors of a module as read from a pretrained file; returns the module.

    missing: state-dict keys that the file did not hold.

    >>> encoder = pretrained(nn.Linear(2, 2))
    >>> sorted(new_names(nn.Sequential(encoder, nn.Linear(2, 1))))
    ['1.bias', '1.weight']
    """
    # A tied tensor has several names, of which a file may hold but one.
    read = {id(t) for name, t in module.state_dict(keep_vars=True).items() if name not in missing}
    for tensor in module.state_dict(keep_vars=True).values():
        setattr(tensor, MARK, id(tensor) in read)
    return module


def new_names(model: nn.Module) -> set[str]:
    """State-dict keys of the tensors that no pretrained file holds."""
    own = dict(model.named_parameters(remove_duplicate=False))
    own |= dict(model.named_buffers(remove_duplicate=False))
    # Quantised layers put what describes their weights into the state dict as well.
    persistent = own.keys() & model.state_dict(keep_vars=True).keys()
    return {name for name in persistent if not getattr(own[name], MARK, False)}
