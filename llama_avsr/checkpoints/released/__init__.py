"""Importers for the checkpoints that others published, one file for each family.

    llama-avsr eval --pretrained-model-path released.pth <flags> --root-dir DATA
    llama-avsr convert released.pth OUT_DIR <flags>

A release's weights win over the pretrained ones: BatchNorm statistics and the rows of added tokens are
nowhere else. Nothing in the files is run.
"""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

import torch
from torch import Tensor

from av_hubert import fairseq_file
from llama_avsr.checkpoints import folder as checkpoint
from llama_avsr.checkpoints.released import llama_avsr, mms_llama, omni_avsr, vsp_llm
from llama_avsr.checkpoints.released.weights import Imported, check_names, copy_into, narrow
from llama_avsr.model.build import build_model
from llama_avsr.model.speech_llm import SpeechLLM
from llama_avsr.options import Options, to_dict

FAMILIES = (omni_avsr, llama_avsr, vsp_llm, mms_llama)
"""The first that takes a file for its own reads it."""


def is_release(path: Path) -> bool:
    """Whether a path can only mean a published file; our own checkpoints are folders."""
    return path.is_file()


def read(path: Path) -> tuple[ModuleType, dict[str, Tensor]]:
    """The family of a release and its tensors, memory-mapped where it is a plain state dict.

    Raises ValueError for a file that is none.
    """
    state = _tensors(path)
    for family in FAMILIES:
        if family.is_one(state):
            return family, state
    some = ", ".join(list(map(str, state))[:3]) or "nothing"
    expected = " or ".join(family.NAME for family in FAMILIES)
    raise ValueError(f"{path}: expected a published checkpoint of {expected}, found {some}")


def release_options(options: Options, explicit: Sequence[str], program: str = "eval") -> Options:
    """Options of a program completed and checked, with what the releases were trained with."""
    family, state = read(options.checkpoints.pretrained_model_path)
    return family.complete(options, explicit, state, program)


def load_release(model: SpeechLLM, options: Options, path: Path, keep_equal: bool = False) -> Imported:
    """Put a release's weights into a model that was built with its flags.

    keep_equal: leave the pretrained weights where the file's are the same, rounded.
    Raises ValueError, a line for each fault, where the file contradicts the flags.
    """
    family, state = read(path)
    faults = list(family.contradictions(model, options, state))
    if faults:
        raise ValueError("\n".join(f"{path.name}: {fault}" for fault in faults))
    translated = family.translate(state, model)
    check_names(model.state_dict(keep_vars=True), translated, family.may_lack(model), path.name)
    return copy_into(model, translated, keep_equal)


def convert(path: Path, folder: Path, options: Options) -> Imported:
    """Write a release as a checkpoint folder: its own tensors and those that differ from the pretrained."""
    model = build_model(options)
    imported = load_release(model, options, path, keep_equal=True)
    state = {key: narrow(value) for key, value in checkpoint.saved_state(model).items()}
    checkpoint.write(folder, state, to_dict(options))
    return imported


def _tensors(path: Path) -> dict[str, Tensor]:
    try:
        state = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError):
        return fairseq_file.read_tensors(path)  # names classes that are not here, or is none at all
    if isinstance(state, dict):
        for part in ("state_dict", "model"):
            state = state[part] if isinstance(state.get(part), dict) else state
        return state
    return {}
