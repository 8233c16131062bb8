"""Learning-rate curves against recordings of the original's."""

import json
from pathlib import Path

import pytest
import torch
from torch.optim.lr_scheduler import LambdaLR

from llama_avsr.training.schedules import cosine_with_warmup

CURVES = json.loads((Path(__file__).parent / "training" / "schedules.json").read_text())


@pytest.mark.parametrize("name", CURVES)
def test_curve_is_the_originals_within_the_planned_steps(name):
    curve = CURVES[name]
    warmup = curve["warmup_epochs"] * curve["steps_per_epoch"]
    total = curve["total_epochs"] * curve["steps_per_epoch"]
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimiser = torch.optim.SGD([parameter], lr=curve["base_lr"])
    scheduler = LambdaLR(optimiser, cosine_with_warmup(warmup, total))
    used = []
    for _ in range(len(curve["lr"])):
        used.append(optimiser.param_groups[0]["lr"])
        optimiser.step()
        scheduler.step()
    planned = int(total)
    assert used[:planned] == pytest.approx(curve["lr"][:planned], abs=1e-6)
    assert used[:planned] == pytest.approx(curve["lr"][:planned], rel=1e-9, abs=1e-15)
    assert curve["lr"][-1] > 0
    assert used[planned:] == [0.0] * (len(used) - planned)


def test_there_are_curves():
    assert len(CURVES) == 3
