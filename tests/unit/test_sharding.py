"""The LLM's frozen weights shared out between two processes: the steps that one with all of them takes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import multiprocessing
from torch.distributed import destroy_process_group, init_process_group
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import DTensor

from llama_avsr.lightning.sharding import WholeWhileEvaluating, layers_of, shard
from llama_avsr.model.decoding import BeamSearch
from llama_avsr.options import Options
from llama_avsr.options.checks import problems
from tests import models

PROCESSES = 2
SEARCH = BeamSearch(num_beams=3, max_new_tokens=4)


def steps(model: Any, batches: list[Any]) -> tuple[list[float], dict[str, torch.Tensor]]:
    """Losses and trained weights of three steps of plain gradient descent."""
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    losses = []
    for _ in range(3):
        loss = model.train().loss(models.joined(batches)).cross_entropy
        gradients = torch.autograd.grad(loss, list(trained.values()), allow_unused=True)
        with torch.no_grad():
            for parameter, gradient in zip(trained.values(), gradients, strict=True):
                if gradient is not None:
                    parameter -= 0.01 * gradient
        losses.append(float(loss.detach()))
    return losses, {name: parameter.detach().clone() for name, parameter in trained.items()}


def decoded(model: Any, batches: list[Any]) -> list[list[int]]:
    return [nbest[0].ids for nbest in model.eval().generate(models.joined(batches), SEARCH)]


def process(rank: int, model: Any, batches: list[Any], folder: Path) -> None:
    init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=PROCESSES)
    shard(model.llm, init_device_mesh("cpu", (PROCESSES,)))
    layers = layers_of(model.llm)
    frozen = [p for layer in layers for p in layer.parameters() if not p.requires_grad]
    share = sum(p.to_local().numel() for p in frozen) / sum(p.numel() for p in frozen)
    losses, weights = steps(model, batches)
    whole, module = WholeWhileEvaluating(), type("Module", (), {"model": model})
    whole.on_validation_start(None, module)
    texts = decoded(model, batches[: 1 + rank])  # not in step
    whole.on_validation_end(None, module)
    found = {
        "share": share,
        "losses": losses,
        "weights": weights,
        "texts": texts,
        "again": steps(model, batches)[0],
        "sharded": all(isinstance(p, DTensor) for p in layers[0].parameters() if not p.requires_grad),
    }
    torch.save(found, folder / f"{rank}.pt")
    destroy_process_group()


def test_two_processes_take_the_steps_of_one(tmp_path: Path) -> None:
    made = models.folders(tmp_path)
    asked = {"prompt_audio": "transcribe speech to text .", "gradient_checkpointing": True}
    one, model = (models.build(made, "audio", **asked) for _ in range(2))
    batches = models.clips(one, asked["prompt_audio"])
    multiprocessing.start_processes(
        process, (model, batches, tmp_path), nprocs=PROCESSES, start_method="fork"
    )
    losses, weights = steps(one, batches)
    texts = decoded(one, batches)
    for rank in range(PROCESSES):
        found = torch.load(tmp_path / f"{rank}.pt")
        assert found["share"] == pytest.approx(1 / PROCESSES, abs=0.01)
        assert found["losses"] == pytest.approx(losses, rel=1e-5)
        torch.testing.assert_close(found["weights"], weights, rtol=1e-5, atol=1e-6)
        assert found["texts"] == texts[: 1 + rank]
        assert found["again"] != pytest.approx(losses, rel=1e-5)
        assert found["again"][-1] < losses[0]
        assert found["sharded"]


@pytest.mark.parametrize(
    ("changed", "told"),
    [({"quantization": "nf4"}, "--quantization nf4"), ({"unfrozen_modules": ("llm",)}, "leaves none")],
)
def test_what_cannot_be_shared_out_is_told(changed: dict[str, Any], told: str) -> None:
    faults = problems(Options().updated({"strategy": "fsdp2", "accelerator": "cpu", **changed}), "train")
    assert any("--strategy fsdp2" in fault and told in fault for fault in faults)
