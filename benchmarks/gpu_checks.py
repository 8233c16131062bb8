"""What has to hold on a device before its speed means anything, tried on small models.

Each check takes a device and returns what it found, in a few words; it raises AssertionError where something
is wrong, and NotHere where the machine lacks what it is about. `tests/gpu` runs them on a GPU.
"""

from __future__ import annotations

import copy
import importlib.util
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from transformers import PreTrainedModel

from benchmarks.shapes import batch_of, model_of
from datamodules.batch import Batch
from llama_avsr.model.decoding import BeamSearch
from llama_avsr.model.llm import load_llm
from llama_avsr.model.quantisation import EIGHT_BIT, NEEDED, NF4
from llama_avsr.model.reading import read_whole
from llama_avsr.model.speech_llm import SpeechLLM
from llama_avsr.options import Options

OPTIONS = Options().updated(
    {
        "modality": "audio",
        "llm_model": "tiny",
        "audio_encoder_name": "openai/whisper-nano",
        "whisper_padding": "none",
        "intermediate_size": 64,
        "add_PETF_LLM": "lora",
        "lora_rank": 8,
    }
)
SEARCH = BeamSearch(num_beams=5, max_new_tokens=8, num_best=3)
TOLERANCE = 1e-3
"""Relative, in float32 on two devices."""
COARSE = {"bf16": 0.05, EIGHT_BIT: 0.05, NF4: 0.3}
"""Relative, of what rounds."""
LENGTHS = (24, 31, 47, 60)


class NotHere(Exception):
    """The machine lacks what a check is about."""


def equals_cpu(device: torch.device) -> str:
    """Loss, gradients and hypotheses are those of the CPU."""
    with _exact_arithmetic():
        here, there = _model(), _model().to(device)
        loss, gradients = _loss_and_gradients(here)
        other_loss, other_gradients = _loss_and_gradients(there)
        off = max([_off(other_loss, loss), *map(_off, other_gradients, gradients)])
        assert off < TOLERANCE, f"loss or gradients are off by {off:.1e} of the CPU's"
        texts = [[[h.ids for h in nbest] for nbest in m.generate(_batch(m), SEARCH)] for m in (here, there)]
    assert texts[0] == texts[1], "beam search writes other texts than on the CPU"
    return f"largest deviation of loss and gradients {off:.1e}, same texts"


def bf16(device: torch.device) -> str:
    """Frozen weights and arithmetic in 16 bits give about the loss of 32, and finite gradients."""
    if device.type == "cuda" and not torch.cuda.is_bf16_supported(including_emulation=False):
        raise NotHere("this GPU does not compute in bf16")
    model = _model().to(device)
    expected, _ = _loss_and_gradients(model)
    for parameter in model.parameters():
        if not parameter.requires_grad:
            parameter.data = parameter.data.bfloat16()
    with torch.autocast(device.type, torch.bfloat16):
        loss, gradients = _loss_and_gradients(model)
        model.generate(_batch(model), SEARCH)
    assert all(gradient.isfinite().all() for gradient in gradients), "a gradient is not finite"
    off = _off(loss, expected)
    assert off < COARSE["bf16"], f"the loss is off by {off:.1%}"
    return f"loss off by {off:.2%}"


def quantised(device: torch.device, mode: str) -> str:
    """Weights in 8 or 4 bits give about the answers of 32, and gradients flow through them."""
    for package in NEEDED:
        if importlib.util.find_spec(package) is None:
            raise NotHere(f"{package} is not installed")
    llm = _model(add_PETF_LLM=None).llm
    with tempfile.TemporaryDirectory() as folder:
        llm.save_pretrained(folder)
        packed = load_llm(folder, quantization=mode, device=device)
    embeddings = _embeddings(packed, 32, device).requires_grad_()
    found = read_whole(packed, embeddings, 32).logits
    found.sum().backward()
    assert embeddings.grad.isfinite().all(), "a gradient is not finite"
    assert embeddings.grad.abs().max() > 0, "no gradient reaches the embeddings"
    with torch.no_grad():
        off = _off(found, read_whole(llm.to(device), embeddings, 32).logits)
    assert off < COARSE[mode], f"logits are off by {off:.1%}"
    return f"logits off by {off:.1%}"


def attention(device: torch.device) -> str:
    """Every kernel of SDPA that is there gives what plain arithmetic gives; on a GPU, flash attention is."""
    llm = _model().llm.to(device, torch.bfloat16)
    embeddings = _embeddings(llm, 64, device).bfloat16()
    answers = {}
    for name, backend in SDPBackend.__members__.items():
        if name in ("ERROR", "OVERRIDEABLE"):
            continue
        try:
            with sdpa_kernel(backend), torch.no_grad():
                answers[name] = read_whole(llm, embeddings, 64).logits.float()
        except RuntimeError:  # this kernel does not run here
            continue
    offs = {name: _off(logits, answers["MATH"]) for name, logits in answers.items()}
    assert max(offs.values()) < COARSE["bf16"], f"kernels differ: {offs}"
    assert device.type != "cuda" or "FLASH_ATTENTION" in answers, (
        f"no flash attention, only {', '.join(offs)}"
    )
    return f"{', '.join(name.lower() for name in offs)}; off by at most {max(offs.values()):.2%}"


def compiled(device: torch.device) -> str:
    """`torch.compile` of the LLM gives the same loss, and is compiled no more for new lengths."""
    from torch._dynamo.testing import CompileCounterWithBackend

    plain = _model().llm.to(device)
    llm = copy.deepcopy(plain)
    counter = CompileCounterWithBackend("inductor" if device.type == "cuda" else "eager")
    llm.compile(backend=counter, dynamic=True)
    counts = []
    for length in LENGTHS:
        embeddings = _embeddings(plain, length, device)
        found, expected = (
            read_whole(m, embeddings.clone().requires_grad_(), length).logits for m in (llm, plain)
        )
        off = _off(found, expected)
        assert off < TOLERANCE, f"logits of {length} positions are off by {off:.1e}"
        found.sum().backward()
        counts.append(counter.frame_count)
    assert counts[-1] == counts[1], (
        f"compiled again for new lengths: {counts} graphs after {LENGTHS} positions"
    )
    return f"{counts[-1]} graphs for {len(LENGTHS)} lengths"


CHECKS: dict[str, Callable[[torch.device], str]] = {
    "equality with the CPU": equals_cpu,
    "bf16": bf16,
    EIGHT_BIT: lambda device: quantised(device, EIGHT_BIT),
    NF4: lambda device: quantised(device, NF4),
    "attention kernels": attention,
    "torch.compile": compiled,
}


@contextmanager
def _exact_arithmetic() -> Iterator[None]:
    allowed = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = allowed


def _model(**changed: Any) -> SpeechLLM:
    """The same random weights each time, adapters included, large enough that texts differ."""
    torch.manual_seed(0)
    model = model_of(OPTIONS.updated(changed), "cpu", torch.float32)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.startswith("llm.") and parameter.dim() > 1:
                parameter.normal_(std=0.1)
    return model.eval()


def _batch(model: SpeechLLM) -> Batch:
    generator = torch.Generator().manual_seed(1)
    batch = batch_of(model, [25, 40, 31], [5, 9, 7], 4, generator=generator)
    return batch.to(model.llm.device)


def _loss_and_gradients(model: SpeechLLM) -> tuple[Tensor, list[Tensor]]:
    loss = model.loss(_batch(model)).cross_entropy
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    return loss.detach(), list(torch.autograd.grad(loss, trained))


def _embeddings(llm: PreTrainedModel, length: int, device: torch.device) -> Tensor:
    generator = torch.Generator().manual_seed(2)
    return torch.randn(2, length, llm.config.hidden_size, generator=generator).to(device)


def _off(found: Tensor, expected: Tensor) -> float:
    """Norm of the difference, relative to what was expected."""
    found, expected = found.detach().float().cpu(), expected.detach().float().cpu()
    return float((found - expected).norm() / expected.norm())
