"""The loop that all three ingredients are trained with."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """AdamW with a linear warm-up and a cosine to a fiftieth of the peak."""

    steps: int
    lr: float = 1e-3
    warmup_steps: int = 100
    weight_decay: float = 0.01
    grad_clip: float = 1.0
    report_every: int = 250
    """Steps between two log lines, evaluations and snapshots."""

    def factor(self, step: int) -> float:
        """The share of the peak learning rate at `step`, counted from 0."""
        warmup = min(self.warmup_steps, self.steps // 4)
        if step < warmup:
            return (step + 1) / warmup
        progress = (step - warmup) / max(1, self.steps - warmup)
        return 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * progress))


def quick_products() -> torch.autocast:
    """Matrix products in bfloat16, which halves their time; weights and sums stay in float32."""
    return torch.autocast("cpu", torch.bfloat16)


def fit(
    modules: Iterable[nn.Module],
    loss_of_step: Callable[[int], Tensor],
    schedule: Schedule,
    report: Callable[[int], str],
) -> None:
    """Minimise `loss_of_step(step)`; every `report_every` steps `report(steps done)` evaluates and saves.

    Raises FloatingPointError where the loss stops being a number.
    """
    modules = list(modules)
    parameters = [p for module in modules for p in module.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(
        parameters, lr=schedule.lr, betas=(0.9, 0.98), weight_decay=schedule.weight_decay
    )
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, schedule.factor)
    started, losses = time.monotonic(), []
    for step in range(schedule.steps):
        for module in modules:
            module.train()
        loss = loss_of_step(step)
        if not torch.isfinite(loss):
            raise FloatingPointError(f"step {step}: the loss is {loss.item()}; lower the learning rate")
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, schedule.grad_clip)
        optimizer.step()
        scheduler.step()
        losses.append(loss.item())
        if (step + 1) % schedule.report_every == 0 or step + 1 == schedule.steps:
            for module in modules:
                module.eval()
            with torch.no_grad():
                figures = report(step + 1)
            seconds = time.monotonic() - started
            mean = sum(losses) / len(losses)
            log.info("step %d/%d  %.0f s  loss %.3f  %s", step + 1, schedule.steps, seconds, mean, figures)
            losses.clear()
