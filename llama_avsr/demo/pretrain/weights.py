"""Writing the ingredients: half precision on disk, float32 in use."""

from __future__ import annotations

import copy
from pathlib import Path

import torch
from transformers import PreTrainedModel

WEIGHTS_MODE = 0o644


def save_transformer(model: PreTrainedModel, folder: Path) -> None:
    """Write `model` to `folder` in float16, with a configuration that has it loaded in float32."""
    folder.mkdir(parents=True, exist_ok=True)
    halved = copy.deepcopy(model).half()
    halved.save_pretrained(folder)
    # save_pretrained noted float16, and from_pretrained would compute in it.
    config = copy.deepcopy(model.config)
    config.dtype = torch.float32
    config.architectures = [type(model).__name__]
    config.save_pretrained(folder)
    for path in folder.iterdir():
        path.chmod(WEIGHTS_MODE)
