"""Options of training, checkpoints and the machine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from datamodules.defaults import SEED
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


def _has_floor(options: Any) -> bool:
    return options.training.lr_schedule != "cosine"


@group(programs=TRAINING)
class TrainingOptions:
    """Training"""

    unfrozen_modules: tuple[str, ...] | None = option(None, fixed=True, flag="--unfrozen_modules")
    """Pretrained parts to train as well: `peft_llm` (the LLM's adapters), `lora_avhubert`, `encoder`, `llm`,
    or patterns of parameter names. New parts, such as projectors, are always trained. Default: the
    adapters, if any."""
    lr: PositiveFloat = 1e-3
    """Peak learning rate of AdamW."""
    lr_schedule: Literal["cosine", "floored-cosine", "tri-stage"] = "cosine"
    """Learning rate after warm-up: cosine decays to 0 along a cosine, floored-cosine to --final-lr-scale;
    tri-stage holds for --hold-steps, decays exponentially for --decay-steps, and then stays at
    --final-lr-scale."""
    weight_decay: NonNegativeFloat = 0.1
    """Weight decay of AdamW."""
    adam_betas: tuple[Beta, Beta] = (0.9, 0.98)
    """AdamW's beta coefficients."""
    warmup_epochs: NonNegativeFloat = 0.0
    """Linear warm-up, in epochs; may be a fraction."""
    warmup_steps: NonNegativeInt | None = None
    """Linear warm-up, in optimiser steps; replaces --warmup-epochs."""
    hold_steps: NonNegativeInt = option(0, when=_is_tri_stage)
    """Optimiser steps at the peak learning rate, with --lr-schedule tri-stage."""
    decay_steps: PositiveInt | None = option(None, when=_is_tri_stage)
    """Optimiser steps of exponential decay, with --lr-schedule tri-stage. Default: all remaining steps."""
    init_lr_scale: Probability = option(0.01, when=_has_floor)
    """Initial learning rate of the warm-up of tri-stage and floored-cosine, as a fraction of the peak."""
    final_lr_scale: PositiveFloat = option(0.05, when=_has_floor)
    """Final learning rate of tri-stage and floored-cosine, as a fraction of the peak."""
    adam_eps: PositiveFloat = 1e-8
    """AdamW's epsilon."""
    max_epochs: PositiveInt = 10
    """Number of passes over the training set."""
    max_steps: PositiveInt | None = None
    """Stop after this many optimiser steps, if that comes first; the learning rate schedule ends there."""
    max_time_minutes: PositiveFloat | None = None
    """Stop after this many minutes, if that comes first."""
    accumulate_grad_batches: PositiveInt = 1
    """Number of batches to accumulate gradients over; the loss is the mean over all of them."""
    loss_reduction: Literal["token", "utterance"] = "token"
    """Average the loss over all target tokens of a step, or average each clip first, so that short clips
    count as much as long ones."""
    task_weights: tuple[NonNegativeFloat, ...] = option((), when=lambda o: bool(o.goal.tasks))
    """Weights of the losses of --tasks, one each. Default: 1."""
    rates_per_step: Literal["drawn", "all"] = option("drawn", when=lambda o: len(o.views) > len(o.task_names))
    """Of a model for several compression rates: train a step at rates drawn at random, one for each medium,
    or at each of them, and all combinations."""
    label_smoothing: Annotated[float, Range(0, 1, below=True)] = 0.0
    """Label smoothing of the training loss; validation has none."""
    encoder_unfreeze_step: NonNegativeInt | None = None
    """Train the encoders too, from this optimiser step on."""
    gradient_clip: NonNegativeFloat = 10.0
    """Maximum gradient norm; 0 disables clipping."""
    max_skipped_steps: PositiveInt = 10
    """A step whose loss or gradient is not finite is left out; after so many in a row, training ends."""
    add_sink_loss: bool = False
    """Add the attention-sink loss, which keeps the hidden states of BOS and of the other positions before
    the text apart."""
    sink_loss_factor: NonNegativeFloat = option(10000.0, when=lambda o: o.training.add_sink_loss)
    """Weight of the attention-sink loss."""
    ctc_weight: NonNegativeFloat = 0.0
    """Weight of a CTC loss that pulls each stream's speech tokens to the LLM's embeddings of the words they
    hold. With little data, models learn many times faster with it; 0.3 is a good value."""
    ctc_epochs: NonNegativeInt = option(0, when=lambda o: o.training.ctc_weight > 0)
    """First epochs, out of --max-epochs, in which that loss is the only one. The LLM does not run, and what
    stands before it learns ten times as fast; then the learning rate begins again."""
    aligner_steps: NonNegativeInt = 0
    """After training, train an aligner for so many batches: transcripts then have times and confidence for
    each word. 300 is a good value. Nothing of the model changes; `llama-avsr align` does the same later, and
    after training on several GPUs."""


@group(programs=TRAINING)
class CheckpointOptions:
    """Validation and checkpoints"""

    pretrained_model_path: Path | None = option(None, programs=PROGRAMS, needed_by=DECODING, private=True)
    """Model to start from (training) or to evaluate: a checkpoint folder, the folder of a run, a published
    file, or a name on the Hugging Face hub (`user/model`, `user/model@revision`)."""
    ckpt_path: Path | None = option(None, private=True)
    """Checkpoint folder of an interrupted training to resume from exactly (weights, optimiser, position in
    the epoch), or `last` for the newest of this run."""
    val_check_interval: Annotated[int | float, _interval] = 1.0
    """How often to validate: a fraction of an epoch up to 1.0, or a number of batches from 2."""
    num_check_save: PositiveInt = 4
    """Number of recent checkpoints to keep on disk, besides the best."""
    num_average_epochs: PositiveInt = 1
    """Number of recent checkpoints to average into the final model."""
    save_every_n_steps: PositiveInt | None = None
    """Also write a checkpoint to resume from every this many optimiser steps."""
    auto_test: bool = True
    """Evaluate the averaged model after training."""


@group(programs=TESTING)
class HardwareOptions:
    """Machine"""

    gpus: PositiveInt = 1
    """Number of GPUs per node, one process each. On a machine without a GPU: number of processes."""
    num_nodes: PositiveInt = 1
    """Number of machines."""
    accelerator: Literal["auto", "cpu", "gpu"] = option("auto", programs=PROGRAMS)
    """Device to compute on; auto uses the GPU if there is one."""
    precision: Literal["auto", "32", "bf16", "16"] = option("auto", programs=PROGRAMS)
    """Compute precision; auto is bf16 on GPUs that support it, otherwise 32. Trained weights are always kept
    in 32 bits."""
    strategy: Literal["auto", "ddp", "fsdp2"] = "auto"
    """What each of several GPUs holds. ddp: the whole model; fsdp2: its share of the LLM's frozen weights,
    and the layer at work. auto is ddp."""
    attn_implementation: Literal["auto", "sdpa", "eager", "flash_attention_2"] = option(
        "auto", programs=PROGRAMS
    )
    """Attention implementation of the LLM; auto leaves the choice to transformers."""
    gradient_checkpointing: bool = option(False, programs=TRAINING)
    """Recompute the LLM's activations in the backward pass: saves memory, about a third slower."""
    deterministic: bool = False
    """Use only deterministic GPU kernels (slower). Data order, noise and dropout are seeded either way."""
    seed: NonNegativeInt = SEED
    """Seed for new weights, data order, noise and dropout."""
