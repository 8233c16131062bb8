"""Learning-rate curves: functions from the optimiser step to a factor of the peak learning rate.

A curve goes into `torch.optim.lr_scheduler.LambdaLR(optimiser, curve)`, stepped once per optimiser step.
Step 0 is the first update.
"""

from __future__ import annotations

import math
from collections.abc import Callable

Schedule = Callable[[int], float]


def cosine_with_warmup(warmup_steps: float, total_steps: float) -> Schedule:
    """Linear warm-up to 1, then half a cosine to 0, which update `total_steps - 1` reaches.

    Update k uses the curve's value at k + 1: the first update of a warm-up moves the weights, and a curve
    without warm-up begins just below its peak. Both arguments may be fractions (epochs times batches).
    Past `total_steps` the factor stays 0; Llama-AVSR's own curve rises again there.

    ValueError: not 0 <= warmup_steps < total_steps.
    """
    if not 0 <= warmup_steps < total_steps:
        raise ValueError(
            f"found a warm-up of {warmup_steps} steps in a training of {total_steps}; expected "
            "0 <= warm-up < total: lower --warmup-epochs, or raise --max-epochs or --max-steps"
        )

    def factor(step: int) -> float:
        position = step + 1
        if position < warmup_steps:
            return position / warmup_steps
        progress = min(1.0, (position - warmup_steps) / (total_steps - warmup_steps))
        return (1 + math.cos(math.pi * progress)) / 2

    return factor


def floored_cosine(
    warmup_steps: float, total_steps: float, init_scale: float, final_scale: float
) -> Schedule:
    """Linear warm-up from init_scale to 1, half a cosine to final_scale at `total_steps`, constant after.

    Update k uses the curve's value at k (fairseq's cosine, with which MMS-LLaMA was trained).
    ValueError: not 0 <= warmup_steps < total_steps.
    """
    falling = cosine_with_warmup(warmup_steps, total_steps)

    def factor(step: int) -> float:
        if step < warmup_steps:
            return init_scale + (1 - init_scale) * step / warmup_steps
        return final_scale + (1 - final_scale) * falling(step - 1)  # whose update k uses the value at k + 1

    return factor


def tri_stage(
    warmup_steps: float, hold_steps: float, decay_steps: float, init_scale: float, final_scale: float
) -> Schedule:
    """Linear warm-up from init_scale to 1, held, exponential decay to final_scale, constant after.

    Update k uses the curve's value at k (fairseq's tri-stage, with which VSP-LLM was trained).
    ValueError: no steps are left for the decay, or a scale is no positive share.
    """
    if warmup_steps < 0 or hold_steps < 0 or decay_steps <= 0:
        raise ValueError(
            f"tri-stage: found {warmup_steps:g} steps of warm-up, {hold_steps:g} held and {decay_steps:g} of "
            "decay; expected some of decay: lower --warmup-steps or --hold-steps, or raise --max-steps"
        )
    if not (0 <= init_scale <= 1 and 0 < final_scale <= 1):
        raise ValueError(
            f"tri-stage: found scales {init_scale} and {final_scale}; expected shares of the peak"
        )

    def factor(step: int) -> float:
        if step < warmup_steps:
            return init_scale + (1 - init_scale) * step / warmup_steps
        progress = (step - warmup_steps - hold_steps) / decay_steps
        return final_scale ** min(1.0, max(0.0, progress))

    return factor
