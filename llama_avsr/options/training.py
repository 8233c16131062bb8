"""Options of training, checkpoints and the machine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from llama_avsr.options.fields import DECODING, PROGRAMS, TESTING, TRAINING, group, option
from llama_avsr.options.values import (
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    Probability,
    Range,
)

Beta = Annotated[float, Range(0, 1, below=True)]


def _interval(value: float) -> int | float:
    """1 is once an epoch, as 1.0 is: nobody means to validate after every step."""
    if 0 < value <= 1:
        return float(value)
    if value > 1 and value == int(value):
        return int(value)
    raise ValueError(f"expected a share of an epoch above 0 and up to 1, or a number of steps, found {value}")


def _is_tri_stage(options: Any) -> bool:
    return options.training.lr_schedule == "tri-stage"


@group(programs=TRAINING)
class TrainingOptions:
    """Training"""

    unfrozen_modules: tuple[str, ...] | None = option(None, fixed=True, flag="--unfrozen_modules")
    """What is trained besides the projectors, which always are: `peft_llm` (the LLM's adapters),
    `lora_avhubert`, `encoder`, `llm`, `projector`, or patterns of parameter names. Left out: the
    adapters there are."""
    lr: PositiveFloat = 1e-3
    """Peak learning rate of AdamW."""
    lr_schedule: Literal["cosine", "tri-stage"] = "cosine"
    """How the learning rate goes on after its warm-up, step by step: along a cosine to 0; or it stays for
    --hold-steps, falls exponentially for --decay-steps, and stays at --final-lr-scale."""
    weight_decay: NonNegativeFloat = 0.1
    """Weight decay of AdamW."""
    adam_betas: tuple[Beta, Beta] = (0.9, 0.98)
    """Decay rates of AdamW's two running means."""
    warmup_epochs: NonNegativeFloat = 0.0
    """Epochs in which the learning rate rises linearly; fractions are taken."""
    warmup_steps: NonNegativeInt | None = None
    """The same in optimiser steps, in place of --warmup-epochs."""
    hold_steps: NonNegativeInt = option(0, when=_is_tri_stage)
    """Optimiser steps at the peak, with --lr-schedule tri-stage."""
    decay_steps: PositiveInt | None = option(None, when=_is_tri_stage)
    """Optimiser steps of the exponential fall, with --lr-schedule tri-stage. Left out: all that are left."""
    init_lr_scale: Probability = option(0.01, when=_is_tri_stage)
    """Share of the peak at which tri-stage's warm-up begins."""
    final_lr_scale: PositiveFloat = option(0.05, when=_is_tri_stage)
    """Share of the peak at which tri-stage's fall ends."""
    adam_eps: PositiveFloat = 1e-8
    """AdamW's epsilon."""
    max_epochs: PositiveInt = 10
    """Passes over the training set."""
    max_steps: PositiveInt | None = None
    """Stop after this many optimiser steps, if sooner; the learning rate ends there too."""
    max_time_minutes: PositiveFloat | None = None
    """Stop after this many minutes, if sooner."""
    accumulate_grad_batches: PositiveInt = 1
    """Batches whose gradients make one optimiser step; the loss stays the mean over all of them."""
    loss_reduction: Literal["token", "utterance"] = "token"
    """Mean over all target tokens of a step, or over the means of its clips, in which a short clip counts as
    much as a long one."""
    label_smoothing: Annotated[float, Range(0, 1, below=True)] = 0.0
    """Share of the training target that is spread over the whole vocabulary; validation has none."""
    encoder_unfreeze_step: NonNegativeInt | None = None
    """Train the encoders as well, from this optimiser step on."""
    gradient_clip: NonNegativeFloat = 10.0
    """Largest norm of the gradient; 0 does not clip."""
    max_skipped_steps: PositiveInt = 10
    """A step whose loss or gradient is not finite is left out; after so many in a row, training ends."""
    add_sink_loss: bool = False
    """Add the attention-sink loss: BOS and the other positions before the text kept apart."""
    sink_loss_factor: NonNegativeFloat = option(10000.0, when=lambda o: o.training.add_sink_loss)
    """Weight of the attention-sink loss."""


@group(programs=TRAINING)
class CheckpointOptions:
    """Validation and checkpoints"""

    pretrained_model_path: Path | None = option(None, programs=PROGRAMS, needed_by=DECODING, private=True)
    """Model to start from (training) or to evaluate: a checkpoint folder, the folder of a run, a published
    file, or a name on the Hugging Face hub (`user/model`, `user/model@revision`)."""
    ckpt_path: Path | None = option(None, private=True)
    """Checkpoint folder of an interrupted training to resume exactly (weights, optimiser, place in the
    epoch), or `last`, the newest of this run."""
    val_check_interval: Annotated[int | float, _interval] = 1.0
    """How often to validate: a share of an epoch up to 1.0, or a number of batches of 2 and more."""
    num_check_save: PositiveInt = 4
    """Last checkpoints kept on disk, besides the best."""
    num_average_epochs: PositiveInt = 1
    """Last checkpoints averaged into the final model."""
    save_every_n_steps: PositiveInt | None = None
    """Also write a checkpoint to resume from every so many optimiser steps."""
    auto_test: bool = True
    """Evaluate the averaged model when training ends."""


@group(programs=TESTING)
class HardwareOptions:
    """Machine"""

    gpus: PositiveInt = 1
    """GPUs of each node, one process for each. On a machine without a GPU: processes."""
    num_nodes: PositiveInt = 1
    """Machines."""
    accelerator: Literal["auto", "cpu", "gpu"] = option("auto", programs=PROGRAMS)
    """What computes; auto takes the GPU where there is one."""
    precision: Literal["auto", "32", "bf16", "16"] = option("auto", programs=PROGRAMS)
    """Number format of the computation; auto is bf16 on a GPU that has it, else 32. What is trained
    is always kept in 32 bits."""
    strategy: str = "auto"
    """Lightning's name for how processes share the work; auto is `ddp` for more than one."""
    attn_implementation: Literal["auto", "sdpa", "eager", "flash_attention_2"] = option(
        "auto", programs=PROGRAMS
    )
    """Attention of the LLM; auto leaves the choice to transformers."""
    gradient_checkpointing: bool = option(False, programs=TRAINING)
    """Recompute the LLM's activations in the backward pass: less memory, about a third slower."""
    deterministic: bool = False
    """Use deterministic GPU kernels only (slower). Order, noise and dropout are seeded either way."""
    seed: NonNegativeInt = 42
    """Seed of new weights, order, noise and dropout."""
