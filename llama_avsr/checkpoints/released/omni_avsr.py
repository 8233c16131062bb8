"""Omni-AVSR's and Llama-MTSK's releases: Llama-AVSR's, with a projector for each medium and rate."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator

import torch
from torch import Tensor

from llama_avsr.checkpoints.released import llama_avsr
from llama_avsr.model.llm import token_matrices
from llama_avsr.model.speech_llm import SpeechLLM
from llama_avsr.options import FIELDS, Options
from llama_avsr.tasks import Prompt, Stream

NAME = "Omni-AVSR (tensors llm.*, *_proj.0.0.*)"
PROJECTOR = re.compile(r"(\w+)_proj\.(\d+)\.(\d)\.(\w+)")
"""Stream, place of its rate among the rates, layer."""
PROMPT = re.compile(r"prompt_(\w+)")
LLM_LORA = re.compile(r"(llm\..*)\.lora_(down|up)_([QV])(_shared|\.audio|\.video|\.audiovisual|)\.weight")
TASKS = {".audio": "asr", ".video": "vsr", ".audiovisual": "avsr", "_shared": "default", "": "default"}
"""Suffix of an adapter -> what it is called here."""
SHARINGS = {
    frozenset(["default"]): "shared",
    frozenset(["asr", "vsr", "avsr"]): "task",
    frozenset(["asr", "vsr", "avsr", "default"]): "both",
}

complete = llama_avsr.complete
may_lack = llama_avsr.may_lack


def is_one(state: Collection[str]) -> bool:
    return any(PROJECTOR.fullmatch(key) for key in state) and any(key.startswith("llm.") for key in state)


def translate(state: dict[str, Tensor], model: SpeechLLM) -> dict[str, Tensor]:
    """The tensors by the model's names."""
    # The prompts' embeddings are rows of the LLM's: copies, which nothing is read from.
    kept = {key: value for key, value in state.items() if not PROMPT.fullmatch(key)}
    rates = _rates(model)
    ours = {_our_name(key, rates): value for key, value in kept.items()}
    return llama_avsr.translate(ours, model)


def _our_name(key: str, rates: dict[str, list[int]]) -> str:
    if match := PROJECTOR.fullmatch(key):
        stream, place, layer, kind = match.groups()
        known = rates.get(stream, [])
        part = f"{stream}_{known[int(place)]}" if len(known) > 1 else stream
        return f"projectors.{part}.{layer}.{kind}"
    if match := LLM_LORA.fullmatch(key):
        layer, direction, projection, suffix = match.groups()
        side = {"down": "A", "up": "B"}[direction]
        return f"{layer}.{projection.lower()}_proj.lora_{side}.{TASKS[suffix]}.weight"
    return key


def _rates(model: SpeechLLM) -> dict[str, list[int]]:
    """Stream -> its rates, in the order of the flag."""
    rates: dict[str, dict[int, None]] = {}
    for view in model.views.values():
        for stream, rate in view.rates.items():
            rates.setdefault(stream, {})[rate] = None
    return {stream: list(found) for stream, found in rates.items()}


def contradictions(model: SpeechLLM, options: Options, state: dict[str, Tensor]) -> Iterator[str]:
    """What the flags say against what the tensors' names, shapes and prompts say."""
    faults = list(_rate_faults(options, state))
    yield from faults
    yield from llama_avsr.llm_faults(model, options, state)
    yield from llama_avsr.encoder_faults(options, state)
    yield from _sharing_faults(options, state)
    if not faults:
        for stream in options.streams:
            yield from _projector_faults(model, options, state, stream)
    yield from _prompt_faults(model, options, state)


def _rate_faults(options: Options, state: Collection[str]) -> Iterator[str]:
    found: dict[str, set[str]] = {}
    for key in state:
        if match := PROJECTOR.fullmatch(key):
            found.setdefault(match[1], set()).add(match[2])
    wanted = {stream.name: stream for stream in options.streams}
    if wanted.keys() != found.keys():
        yield (
            f"--tasks {' '.join(options.task_names)} --modality {options.goal.modality}: these need "
            f"projectors for {', '.join(sorted(wanted))}, the file has them for {', '.join(sorted(found))}"
        )
    for name in sorted(wanted.keys() & found.keys()):
        rates = options.rates(wanted[name])
        if len(rates) != len(found[name]):
            flag = FIELDS[wanted[name].ratios].flag
            yield f"{flag} {' '.join(map(str, rates))}: the file has projectors for {len(found[name])} rates"


def _sharing_faults(options: Options, state: Collection[str]) -> Iterator[str]:
    adapters = frozenset(TASKS[match[4]] for key in state if (match := LLM_LORA.fullmatch(key)))
    found = SHARINGS.get(adapters, "shared")
    if adapters and options.lora.add_PETF_LLM is not None and found != options.lora.lora_sharing:
        yield f"--lora-sharing {options.lora.lora_sharing}, the file's adapters are of the kind {found}"


def _projector_faults(
    model: SpeechLLM, options: Options, state: dict[str, Tensor], stream: Stream
) -> Iterator[str]:
    """Against the projector of each rate."""
    for rate, part in _parts_of(model, stream):
        place = options.rates(stream).index(rate)
        prefix = f"{stream.name}_proj.{place}"
        yield from llama_avsr.projector_faults(model, options, state, stream, part, prefix, rate)


def _parts_of(model: SpeechLLM, stream: Stream) -> list[tuple[int, str]]:
    """(rate, key of the projector)"""
    found = {
        view.rates[stream.name]: part
        for view in model.views.values()
        for own, part in zip(view.streams, view.parts, strict=True)
        if own.name == stream.name
    }
    return list(found.items())


def _prompt_faults(model: SpeechLLM, options: Options, state: dict[str, Tensor]) -> Iterator[str]:
    """The file keeps the embeddings of the prompts that it was trained with."""
    table = state["llm.model.embed_tokens.weight"]
    if table.shape[0] != token_matrices(model.llm)["embedding"].shape[0]:
        return
    for task, layout in options.layouts.items():
        suffix = next((s for s, name in TASKS.items() if name == task), "")
        kept = state.get(f"prompt_{suffix.removeprefix('.')}")
        if kept is None or not isinstance(layout, Prompt):
            continue
        ids = model.vocabulary.encode(layout.text)
        if len(ids) != kept.shape[1] or not torch.equal(table[ids], kept[0]):
            flag = f"--prompt-{suffix.removeprefix('.')}"
            yield f"{flag} {layout.text!r}: the file was trained with another prompt"
