"""The mean of several checkpoints' weights: steadier than any of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

StateDict = dict[str, Tensor]


def average(state_dicts: Iterable[StateDict]) -> StateDict:
    """The mean of each tensor, accumulated in float32 (float64 for float64) and returned in its own dtype.

    One state is held at a time, so the iterable may load them lazily. Integer tensors (batch counters) are
    averaged and rounded down. The result shares no memory with the inputs, nor between its own tensors: two
    names of one tied weight come out as two equal tensors.

    ValueError: no states, or keys or shapes that differ from the first state's.
    """
    mean = _Mean()
    for state in state_dicts:
        mean.add(f"state {mean.count}", state)
        del state
    return mean.result()


def average_files(paths: Sequence[Path], read: Callable[[Path], StateDict] = load_file) -> StateDict:
    """`average` over files, read one after the other. read: by default safetensors.

    ValueError: no files, or files that do not fit together. FileNotFoundError: one is missing.
    """
    mean = _Mean()
    for path in paths:
        mean.add(str(path), read(path))
    return mean.result()


class _Mean:
    """A running sum of states."""

    def __init__(self) -> None:
        self.count = 0
        self._first = ""
        self._dtypes: dict[str, torch.dtype] = {}
        self._sums: StateDict = {}

    def add(self, name: str, state: StateDict) -> None:
        if self.count == 0:
            self._first = name
            for key, value in state.items():
                self._dtypes[key] = value.dtype
                self._sums[key] = torch.zeros(value.shape, dtype=_wide(value.dtype))
        self._check(name, state)
        for key, total in self._sums.items():
            total += state[key].detach().to("cpu", total.dtype)
        self.count += 1

    def result(self) -> StateDict:
        if self.count == 0:
            raise ValueError("found no checkpoint to average; expected at least one")
        return {key: _divided(total, self.count).to(self._dtypes[key]) for key, total in self._sums.items()}

    def _check(self, name: str, state: StateDict) -> None:
        advice = "average checkpoints of one run"
        if missing := sorted(self._sums.keys() - state.keys()):
            raise ValueError(f"{name} lacks {_listed(missing)}, which {self._first} has; {advice}")
        if extra := sorted(state.keys() - self._sums.keys()):
            raise ValueError(f"{name} has {_listed(extra)}, which {self._first} lacks; {advice}")
        for key, total in self._sums.items():
            if state[key].shape != total.shape:
                raise ValueError(
                    f"{key} has shape {list(state[key].shape)} in {name}, {list(total.shape)} in "
                    f"{self._first}; {advice}"
                )


def _wide(dtype: torch.dtype) -> torch.dtype:
    """What sums of `dtype` are kept in."""
    if not dtype.is_floating_point:
        return torch.int64
    return torch.float64 if dtype == torch.float64 else torch.float32


def _divided(total: Tensor, count: int) -> Tensor:
    return torch.div(total, count, rounding_mode=None if total.is_floating_point() else "floor")


def _listed(keys: list[str], most: int = 5) -> str:
    rest = f" and {len(keys) - most} more" if len(keys) > most else ""
    return ", ".join(keys[:most]) + rest
