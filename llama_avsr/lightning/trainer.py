"""From options to a Lightning trainer."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Timer

from llama_avsr.lightning.checkpoint_io import FolderCheckpointIO
from llama_avsr.lightning.processes import NoSignals, Processes
from llama_avsr.lightning.sharding import Sharded, WholeWhileEvaluating
from llama_avsr.model.devices import precision_of
from llama_avsr.options import Options, to_dict

LIGHTNING_PRECISION = {"32": "32-true", "bf16": "bf16-mixed", "16": "16-mixed"}
ALWAYS_USED = frozenset({"peft_llm", "lora_avhubert", "projector", "llm"})


def make_trainer(
    options: Options, callbacks: Sequence[pl.Callback], loggers: Any, folder: Path
) -> pl.Trainer:
    """A trainer for fitting and testing. folder: where SLURM's preemption checkpoints go."""
    hardware, training, kept = options.hardware, options.training, options.checkpoints
    several = hardware.gpus * hardware.num_nodes > 1
    shards = several and hardware.strategy == "fsdp2"
    strategy: str | Processes = "auto"
    if several:
        strategy = (Sharded if shards else Processes)(
            # Ranks may validate on one batch more or less: nothing may be exchanged in a forward pass.
            broadcast_buffers=False,
            # Of an encoder that is trained itself, parts may sit out a step (AV-HuBERT's other front end).
            # So do the adapters while the LLM does not run, and the projectors of rates that are not drawn.
            find_unused_parameters=not set(options.trained_modules) <= ALWAYS_USED
            or training.ctc_epochs > 0
            or options.draws_rates,
        )
    if training.max_time_minutes is not None:
        callbacks = [*callbacks, SessionTimer({"seconds": training.max_time_minutes * 60})]
    if shards:
        callbacks = [WholeWhileEvaluating(), *callbacks]
    trainer = pl.Trainer(
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
        # FSDP2 fetches into tensors that training uses again.
        inference_mode=not shards,
        plugins=[FolderCheckpointIO(to_dict(options))],
        callbacks=list(callbacks),
        logger=loggers,
        default_root_dir=folder,
    )
    trainer._signal_connector = NoSignals()
    return trainer


@contextmanager
def denormals_as_zero() -> Iterator[None]:
    """Numbers that are all but zero are zero in this thread, within.

    Gradients through the softmax of a whole vocabulary are full of them, and a CPU takes a hundred times as
    long for those.
    """
    smallest = sys.float_info.min
    if smallest / 2 == 0:
        yield
        return
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)


class SessionTimer(Timer):
    """Stops a training after so much time; one that is resumed has the whole time again."""

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """The time that earlier sessions took does not count."""
