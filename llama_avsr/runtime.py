"""From hardware options to a Lightning trainer."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Timer
from pytorch_lightning.strategies import DDPStrategy

from llama_avsr.checkpoint import FolderCheckpointIO
from llama_avsr.options import Options, to_dict
from llama_avsr.quantisation import check_quantisation

LIGHTNING_PRECISION = {"32": "32-true", "bf16": "bf16-mixed", "16": "16-mixed"}
ALWAYS_USED = frozenset({"peft_llm", "lora_avhubert", "projector", "llm"})
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


def precision_of(options: Options) -> str:
    """ "32", "bf16" or "16"; where it is left open, bf16 on a GPU that computes in it."""
    wanted = options.hardware.precision
    if wanted != "auto":
        return wanted
    return "bf16" if on_gpu(options) and torch.cuda.is_bf16_supported(including_emulation=False) else "32"


def frozen_dtype(options: Options) -> torch.dtype:
    """What frozen weights are kept in; trained ones are float32 always."""
    return FROZEN_DTYPE[precision_of(options)]


def make_trainer(
    options: Options, callbacks: Sequence[pl.Callback], loggers: Any, folder: Path
) -> pl.Trainer:
    """A trainer for fitting and testing. folder: where SLURM's preemption checkpoints go."""
    hardware, training, kept = options.hardware, options.training, options.checkpoints
    several = hardware.gpus * hardware.num_nodes > 1
    strategy: str | DDPStrategy = hardware.strategy
    if strategy in ("auto", "ddp") and several:
        strategy = DDPStrategy(
            # Ranks may validate on one batch more or less: nothing may be exchanged in a forward pass.
            broadcast_buffers=False,
            # Of an encoder that is trained itself, parts may sit out a step (AV-HuBERT's other front end).
            find_unused_parameters=not set(options.trained_modules) <= ALWAYS_USED,
        )
    if training.max_time_minutes is not None:
        callbacks = [*callbacks, SessionTimer({"seconds": training.max_time_minutes * 60})]
    return pl.Trainer(
        accelerator=hardware.accelerator,
        devices=hardware.gpus,
        num_nodes=hardware.num_nodes,
        strategy=strategy,
        precision=LIGHTNING_PRECISION[precision_of(options)],
        max_epochs=training.max_epochs,
        max_steps=training.max_steps or -1,
        accumulate_grad_batches=training.accumulate_grad_batches,
        gradient_clip_val=training.gradient_clip or None,
        val_check_interval=kept.val_check_interval,
        log_every_n_steps=options.run.log_every_n_steps,
        deterministic="warn" if hardware.deterministic else None,
        # The datamodule's own samplers share the clips out among the processes.
        use_distributed_sampler=False,
        num_sanity_val_steps=0,
        enable_model_summary=False,
        plugins=[FolderCheckpointIO(to_dict(options))],
        callbacks=list(callbacks),
        logger=loggers,
        default_root_dir=folder,
    )


class SessionTimer(Timer):
    """Stops a training after so much time; one that is resumed has the whole time again."""

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """The time that earlier sessions took does not count."""
