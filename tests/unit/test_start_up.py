"""What a training imports before it has read its data: nothing that takes seconds and may not be needed."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from llama_avsr.model import llm
from llama_avsr.model.devices import loading_device
from llama_avsr.options import Options

LATE = ("bitsandbytes", "peft", "wandb", "gradio", "cv2")


@pytest.mark.slow
def test_training_imports_nothing_it_may_not_need() -> None:
    # matplotlib is not among them: torchmetrics, which Lightning needs, imports it.
    code = f"import sys, llama_avsr.training.run; print([name for name in {LATE} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_llm_is_loaded_to_the_device_that_computes(monkeypatch: pytest.MonkeyPatch) -> None:
    gpu = torch.device("cuda", 1)
    assert llm._placed(gpu) == {"device_map": {"": gpu}}
    assert llm._placed(torch.device("cpu")) == {}
    monkeypatch.setattr(llm.importlib.util, "find_spec", lambda name: None)
    assert llm._placed(gpu) == {}


def test_layers_to_share_out_are_loaded_to_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setenv("LOCAL_RANK", "1")
    for strategy, device in (("ddp", torch.device("cuda", 1)), ("fsdp2", torch.device("cpu"))):
        assert loading_device(Options().updated({"strategy": strategy})) == device
