"""Steps whose loss or gradient is no finite number: left out, counted, and named.

A step is one of the optimiser: with accumulation or several processes, one bad clip spoils all that is
summed with it. Every process decides alike, from sums that all of them hold. The learning rate goes on as if
the step had been taken; weights, Adam's averages and running statistics stay as they were.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

LOGGER = logging.getLogger(__name__)
SHOWN_CLIPS = 10


class NonFiniteError(ValueError):
    """Too many steps in a row had no finite loss or gradient."""


class StepGuard:
    """What one process knows of the bad steps.

    max_in_a_row: so many bad steps one after the other are an error.
    """

    def __init__(self, max_in_a_row: int) -> None:
        self.max_in_a_row = max_in_a_row
        self.in_a_row = 0
        self.total = 0
        self._clips: list[str] = []
        self._batches: list[tuple[list[str], Tensor]] = []
        self._statistics: list[tuple[Tensor, Tensor]] = []

    def add(self, clips: list[str], loss: Tensor) -> None:
        """Note a batch of the coming step, with its loss. The device is not waited for."""
        self._batches.append((clips, ~torch.isfinite(loss.detach())))

    def votes(self, gradients: Sequence[Tensor]) -> Tensor:
        """How much of this process' part of the step is bad; 0 is good."""
        bad_losses = torch.stack([is_bad for _, is_bad in self._batches]).sum()
        # Of one norm, not of each number: it is infinite or NaN where one of them is.
        return bad_losses + (~torch.isfinite(torch.nn.utils.get_total_norm(gradients)) if gradients else 0)

    def suspects(self) -> tuple[list[str], list[str]]:
        """(clips of this process' batches whose loss was not finite, all its clips of the step)."""
        bad = [clip for clips, is_bad in self._batches if bool(is_bad) for clip in clips]
        return bad, [clip for clips, _ in self._batches for clip in clips]

    def keep_statistics(self, model: nn.Module) -> None:
        """Remember the running statistics that the coming step will move, before its first batch."""
        if self._batches or self._statistics:
            return
        moved = [
            buffer
            for layer in model.modules()
            if isinstance(layer, _BatchNorm) and layer.training
            for buffer in layer.buffers()
        ]
        self._statistics = [(buffer, buffer.clone()) for buffer in moved]

    def passed(self) -> None:
        """The step was good."""
        self.in_a_row = 0
        self._clips = []
        self._next()

    def skip(self, suspects: Iterable[tuple[list[str], list[str]]], step: int) -> None:
        """The step was bad: put the statistics back. suspects: those of all processes.

        Raises NonFiniteError where it is one too many.
        """
        for buffer, before in self._statistics:
            buffer.copy_(before)
        self._next()
        found = list(suspects)
        bad = [clip for clips, _ in found for clip in clips]
        clips = bad or [clip for _, clips in found for clip in clips]
        what = "loss" if bad else "gradient"
        self.in_a_row += 1
        self.total += 1
        self._clips += [clip for clip in clips if clip not in self._clips]
        LOGGER.warning(
            "step %d skipped: its %s is not finite (%d skipped in a row, %d in all, at most %d in a row); "
            "its clips: %s",
            step,
            what,
            self.in_a_row,
            self.total,
            self.max_in_a_row,
            _some(clips),
        )
        if self.in_a_row >= self.max_in_a_row:
            raise NonFiniteError(
                f"{self.in_a_row} steps in a row had a loss or gradient that is not finite, expected fewer "
                f"than --max-skipped-steps {self.max_in_a_row}; lower --lr, use --precision 32, or look at "
                f"these clips: {_some(self._clips)}"
            )

    def forget(self) -> None:
        """Batches that no step was made of do not count."""
        self._next()

    def state_dict(self) -> dict[str, Any]:
        return {"in_a_row": self.in_a_row, "total": self.total, "clips": list(self._clips)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.in_a_row, self.total = state["in_a_row"], state["total"]
        self._clips = list(state["clips"])

    def _next(self) -> None:
        self._batches, self._statistics = [], []


def _some(clips: Sequence[str]) -> str:
    more = f" and {len(clips) - SHOWN_CLIPS} more" if len(clips) > SHOWN_CLIPS else ""
    return ", ".join(clips[:SHOWN_CLIPS]) + more
