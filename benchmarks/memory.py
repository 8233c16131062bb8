"""Memory of a training on 1, 8 and 64 GPUs, part by part, and which GPUs it fits.

    python -m benchmarks.memory recipes/llama_avsr/avsr_433h.yaml [any flag of training]
    python -m benchmarks.memory recipes/vsp_llm/frozen.yaml --llm-model folder/with/config.json

Nothing is loaded: models of known shapes, or of a config.json, are built on the meta device, and the very
training step is counted there (benchmarks/step_memory.py). `python -m benchmarks.memory_check` measures how
near that comes.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from benchmarks.alternating import save, table
from benchmarks.shapes import batch_of, model_of
from benchmarks.step_memory import ACTIVATIONS, GRADIENTS, LOGITS, STATES, step_memory
from datamodules.batch import VIDEO_FPS
from llama_avsr.cli import parse
from llama_avsr.model.devices import FROZEN_DTYPE
from llama_avsr.model.quantisation import NONE
from llama_avsr.model.speech_llm import SpeechLLM
from llama_avsr.options import Options

GIB = 2**30
CARDS_GIB = (24, 48, 80)
RESERVED_GIB = 1.5
"""For CUDA's context, libraries' workspaces and gaps between blocks: assumed, not measured."""
GPUS = (1, 8, 64)
GPUS_A_MACHINE = 8
"""Among which FSDP2 shares out the LLM's frozen weights."""
GATHERED_LAYERS = 3
"""FSDP2 has one layer at work, fetches the next, and copies it out of the buffer it came in."""
PROMPT_TOKENS = 8
AVHUBERT_FLAGS = tuple(f"--pretrain-avhubert-enc-{kind}-path" for kind in ("video", "audio", "audiovisual"))


@dataclass(frozen=True)
class Parts:
    """Bytes of a model and a step on one GPU."""

    llm: int
    encoders: int
    trained: int
    step: dict[str, int]
    layers: int
    """Frozen weights of the LLM's decoder layers, which FSDP2 shares out."""
    largest_layer: int

    def on(self, gpus: int, strategy: str) -> dict[str, int]:
        """Bytes by part on each of so many GPUs, at the moment of the peak."""
        step = {name: self.step.get(name, 0) for name in (GRADIENTS, STATES, ACTIVATIONS, LOGITS)}
        found = {"LLM": self.llm, "encoders": self.encoders, "adapters, projectors": self.trained, **step}
        if gpus > 1:
            found[GRADIENTS] += self.trained  # the buckets that DDP exchanges
        if strategy == "fsdp2":
            kept = self.layers // min(gpus, GPUS_A_MACHINE)
            found["LLM"] += kept + GATHERED_LAYERS * self.largest_layer - self.layers
        return found


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("recipe", type=Path, help="YAML as for --config of the training")
    parser.add_argument("--clip-seconds", type=float, default=4.0, help="length of every clip of the batch")
    parser.add_argument("--tokens-a-second", type=float, default=4.0, help="of text, for one of speech")
    parser.add_argument("--save", metavar="NAME", help="writes benchmarks/results/memory_NAME_[date].md")
    asked, flags = parser.parse_known_args(argv)
    try:
        text = report(options_of(asked.recipe, flags), asked.clip_seconds, asked.tokens_a_second)
    except ValueError as error:
        sys.exit(f"benchmarks.memory: error: {error}")
    text = f"`{asked.recipe}`\n\n{text}" if not flags else f"`{asked.recipe} {' '.join(flags)}`\n\n{text}"
    save("memory", asked.save, text)


def options_of(recipe: Path, flags: Sequence[str]) -> Options:
    """What the training would be given. Files that the recipe leaves open get names of their usual sizes."""
    named = [flag for flag in AVHUBERT_FLAGS if not any(given.startswith(flag) for given in flags)]
    files = [word for flag in named for word in (flag, "large_vox_iter5.pt")]
    defaults = ["--config", str(recipe), "--root-dir", "."]
    try:
        return parse([*defaults, *files, *flags], "train").options
    except ValueError:
        return parse([*defaults, *flags], "train").options


def report(options: Options, clip_seconds: float, tokens_a_second: float) -> str:
    precision = "bf16" if options.hardware.precision == "auto" else options.hardware.precision
    dtype = FROZEN_DTYPE[precision]
    frames = round(clip_seconds * VIDEO_FPS)
    clips = max(1, options.train_max_frames // frames)
    if options.data.max_clips is not None:
        clips = min(clips, options.data.max_clips)
    tokens = max(1, round(clip_seconds * tokens_a_second))
    lines = [
        f"{options.llm.llm_model}, frozen weights in {precision}, quantization {options.llm.quantization}; "
        f"clips of a batch: {clips}, each of {clip_seconds:g} s with {tokens} tokens of text. GiB a GPU, at "
        f"the moment of the peak; {RESERVED_GIB:g} GiB of each card are kept free (assumed)."
    ]
    for checkpointing in (False, True):
        asked = options.updated({"gradient_checkpointing": checkpointing})
        model = model_of(asked, "meta", dtype)
        batch = batch_of(model, [frames] * clips, [tokens] * clips, PROMPT_TOKENS, device="meta")
        found = parts(model, step_memory(model, batch, dtype))
        word = "with" if checkpointing else "without"
        lines.append(f"{word.capitalize()} gradient checkpointing:\n\n{_table(found, options)}")
    return "\n\n".join(lines)


def parts(model: SpeechLLM, step: dict[str, int]) -> Parts:
    llm, layers = model.llm, list(model.llm.get_decoder().layers)
    inside = [_bytes(layer, trained=False) for layer in layers]
    return Parts(
        llm=_bytes(llm, trained=False),
        encoders=_bytes(model.encoders, trained=False),
        trained=_bytes(model, trained=True),
        step=step,
        layers=sum(inside),
        largest_layer=max(inside),
    )


def _bytes(module: torch.nn.Module, trained: bool) -> int:
    tensors = [p for p in module.parameters() if p.requires_grad is trained]
    return sum(tensor.nbytes for tensor in [*tensors, *([] if trained else module.buffers())])


def _table(found: Parts, options: Options) -> str:
    quantised = options.llm.quantization != NONE  # FSDP2 shards no quantised weights
    ways = [
        (gpus, strategy)
        for gpus in GPUS
        for strategy in (("ddp",) if gpus == 1 or quantised else ("ddp", "fsdp2"))
    ]
    columns = [found.on(gpus, strategy) for gpus, strategy in ways]
    totals = [sum(column.values()) / GIB for column in columns]
    rows = [[name, *(f"{column[name] / GIB:.2f}" for column in columns)] for name in columns[0]]
    fits = [next((f"{c} GB" for c in CARDS_GIB if t + RESERVED_GIB <= c), "none") for t in totals]
    rows += [["**sum**", *(f"**{total:.2f}**" for total in totals)], ["smallest card", *fits]]
    heads = ["1 GPU" if gpus == 1 else f"{gpus} GPUs, {strategy}" for gpus, strategy in ways]
    return table(["part", *heads], rows)


if __name__ == "__main__":
    main()
