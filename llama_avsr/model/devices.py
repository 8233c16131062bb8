"""What computes, and in which number format."""

from __future__ import annotations

import os

import torch

from llama_avsr.model.quantisation import check_quantisation
from llama_avsr.options import Options

FROZEN_DTYPE = {"32": torch.float32, "bf16": torch.bfloat16, "16": torch.float16}


def on_gpu(options: Options) -> bool:
    """Whether the computation runs on a GPU."""
    return options.hardware.accelerator != "cpu" and torch.cuda.is_available()


def check_hardware(options: Options) -> None:
    """Raises ValueError where the machine lacks what the options ask for."""
    if options.hardware.accelerator == "gpu" and not torch.cuda.is_available():
        raise ValueError("--accelerator gpu: found no GPU that PyTorch can use; leave it out for the CPU")
    found = torch.cuda.device_count()
    if on_gpu(options) and options.hardware.gpus > found:
        raise ValueError(f"--gpus {options.hardware.gpus}: found {found} on this machine")
    check_quantisation(options.llm.quantization, device_of(options))


def device_of(options: Options) -> torch.device:
    """Where this process computes: Lightning gives local rank r the r-th GPU."""
    if not on_gpu(options):
        return torch.device("cpu")
    rank = os.environ.get("LOCAL_RANK", os.environ.get("SLURM_LOCALID", "0"))
    return torch.device("cuda", int(rank))


def loading_device(options: Options) -> torch.device:
    """Where this process loads the LLM: where it computes, unless no device is to hold all of it."""
    return torch.device("cpu") if options.hardware.strategy == "fsdp2" else device_of(options)


def precision_of(options: Options) -> str:
    """ "32", "bf16" or "16"; where it is left open, bf16 on a GPU that computes in it."""
    wanted = options.hardware.precision
    if wanted != "auto":
        return wanted
    return "bf16" if on_gpu(options) and torch.cuda.is_bf16_supported(including_emulation=False) else "32"


def frozen_dtype(options: Options) -> torch.dtype:
    """What frozen weights are kept in; trained ones are float32 always."""
    return FROZEN_DTYPE[precision_of(options)]
