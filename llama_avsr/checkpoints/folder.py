"""Checkpoints: small, self-describing folders.

    epoch=02-step=000750/
        model.safetensors   what was trained, and the rows of the added tokens; never a frozen encoder or LLM
        config.yaml         all options, versions, how far training was, and the checksums of the other files
        resume.pt           Lightning's state (optimiser, schedule, loops); only needed to resume
        words.safetensors   where there is one, what finds the times of words (`llama_avsr.words`)

A folder that exists is complete (`durable`), and what is read is checked (`integrity`). Nothing in them is
ever run as code.
"""

from __future__ import annotations

import pickle
import shutil
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
import yaml
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import PreTrainedModel

from datamodules.files import whole_or_nothing
from llama_avsr.checkpoints import durable
from llama_avsr.checkpoints.integrity import (
    FILES,
    check_file,
    check_finite,
    check_listed,
    digest,
    sealed,
    unseal,
)
from llama_avsr.model.llm import Vocabulary, token_matrices
from llama_avsr.model.quantisation import is_quantised
from llama_avsr.model.speech_llm import SpeechLLM
from llama_avsr.options import safe_yaml

WEIGHTS, CONFIG, RESUME = "model.safetensors", "config.yaml", "resume.pt"
WORDS = "words.safetensors"
PROGRESS, WORKING_FOLDER = "progress", "working_folder"
"""Keys of `config.yaml`; relative names of pretrained models are relative to the latter."""
FORMAT = 1
ADDED = "added_tokens."
PACKAGES = ("torch", "transformers", "peft", "pytorch-lightning")


def saved_state(model: SpeechLLM) -> dict[str, Tensor]:
    """What a checkpoint holds of the model: what was trained or loaded over the pretrained files
    (`model.changed`), and the rows of the added tokens."""
    whole = model.state_dict(keep_vars=True)
    # Two names of one tied matrix are one tensor.
    own_names = {id(tensor): name for name, tensor in reversed(whole.items()) if name in model.changed}
    state = {name: whole[name].detach() for name in sorted(own_names.values())}
    if rows := list(model.vocabulary.added):
        for name, weight in token_matrices(model.llm).items():
            state[f"{ADDED}{name}"] = weight.detach()[rows].clone()
    return state


def load_saved_state(model: SpeechLLM, state: dict[str, Tensor]) -> None:
    """Put `saved_state` back; what it holds beyond `model.changed` is changed from now on.

    Raises ValueError naming keys that are missing or fit nowhere.
    """
    whole, own = model.state_dict(keep_vars=True), saved_state(model)
    fitting = {**whole, **own}
    _check_plain(whole, state)
    shapes = [
        f"{key} is {list(state[key].shape)}, the model's {list(fitting[key].shape)}"
        for key in sorted(fitting.keys() & state.keys())
        if fitting[key].shape != state[key].shape
    ]
    faults = {
        "missing": sorted(own.keys() - state.keys()),
        "unexpected": sorted(state.keys() - fitting.keys()),
        "shapes": shapes,
    }
    if any(faults.values()):
        found = "; ".join(f"{what}: {_some(keys)}" for what, keys in faults.items() if keys)
        raise ValueError(
            f"the checkpoint does not fit the model: {found}; use the LLM, encoders and options that it was "
            "trained with"
        )
    _copy(whole, model.llm, model.vocabulary, state)
    model.changed |= {key for key in state if not key.startswith(ADDED)}


def load_llm_state(llm: PreTrainedModel, vocabulary: Vocabulary, state: dict[str, Tensor]) -> None:
    """Put the LLM's part of `saved_state` into an LLM alone. Raises ValueError for keys that fit nowhere."""
    whole = {f"llm.{key}": value for key, value in llm.state_dict(keep_vars=True).items()}
    unexpected = sorted(key for key in state if key not in whole and not key.startswith(ADDED))
    if unexpected:
        raise ValueError(f"the checkpoint does not fit the LLM: unexpected: {_some(unexpected)}")
    _check_plain(whole, state)
    _copy(whole, llm, vocabulary, state)


def _check_plain(whole: dict[str, Tensor], state: dict[str, Tensor]) -> None:
    rounded = sorted(key for key in state if key in whole and is_quantised(whole[key]))
    if rounded:
        raise ValueError(
            f"the checkpoint holds trained weights of the LLM itself ({_some(rounded)}), which a model with "
            "--quantization cannot take in; leave the flag out"
        )


def _copy(
    whole: dict[str, Tensor], llm: PreTrainedModel, vocabulary: Vocabulary, state: dict[str, Tensor]
) -> None:
    rows, matrices = list(vocabulary.added), token_matrices(llm)
    with torch.no_grad():
        for key, value in state.items():
            if key.startswith(ADDED):
                matrix = matrices[key.removeprefix(ADDED)]
                matrix[rows] = value.to(matrix)
            else:
                whole[key].copy_(value)


def write(
    folder: Path,
    state: dict[str, Tensor],
    options: dict[str, Any],
    resume: Any = None,
    about: Mapping[str, Any] | None = None,
) -> None:
    """Write a checkpoint folder; an older one of the same name is replaced.

    about: what else `config.yaml` should say: how far training was (PROGRESS), what was averaged.
    Raises ValueError for weights that are not finite.
    """
    check_finite(state, str(folder))
    with durable.replacing(folder) as temporary:
        save_file({key: value.contiguous().cpu() for key, value in state.items()}, temporary / WEIGHTS)
        if resume is not None:
            torch.save(resume, temporary / RESUME)
        # Last, because it vouches for the others.
        config = {
            "format": FORMAT,
            FILES: {path.name: digest(path) for path in sorted(temporary.iterdir())},
            **(about or {}),
            "options": options,
            **_working_folder(),
            "versions": {name: version(name) for name in PACKAGES},
        }
        (temporary / CONFIG).write_bytes(sealed(yaml.safe_dump(config, sort_keys=False)))
        # safetensors writes for the owner's eyes only; colleagues share folders.
        shutil.copymode(temporary / CONFIG, temporary / WEIGHTS)


def list_file(folder: Path, name: str) -> None:
    """Let the config vouch for a file that was put into the folder later."""
    config = read_config(folder)
    files = {**config.pop(FILES), name: digest(folder / name)}
    listed = {"format": config.pop("format"), FILES: files, **config}
    with whole_or_nothing(folder / CONFIG) as temporary:
        temporary.write_bytes(sealed(yaml.safe_dump(listed, sort_keys=False)))


def _working_folder() -> dict[str, str]:
    try:
        return {WORKING_FOLDER: str(Path.cwd())}
    except OSError:  # it has been removed; no reason to lose a checkpoint
        return {}


def read_config(folder: Path) -> dict[str, Any]:
    """What `config.yaml` says. Raises ValueError where the folder is no checkpoint, or damaged."""
    path = _part(folder, CONFIG)
    content = path.read_bytes()
    if not content:
        raise ValueError(f"{path}: damaged, the file is empty; copy the checkpoint again")
    body = unseal(path, content)
    try:
        config = safe_yaml.load(body.decode())
    except UnicodeDecodeError:
        raise ValueError(f"{path}: not the config of a checkpoint (not UTF-8); copy it again") from None
    except ValueError as error:
        raise ValueError(f"{path}: not the config of a checkpoint ({error}); copy it again") from None
    found, options = (
        (config.get("format"), config.get("options")) if isinstance(config, dict) else (None, None)
    )
    # The versions come last, in version 0.1: without them the file was cut off.
    is_whole = isinstance(found, int) and isinstance(options, dict) and "versions" in config
    if not is_whole:
        raise ValueError(
            f"{path}: not the config of a checkpoint (expected format and options); train or convert it again"
        )
    if found != FORMAT:
        raise ValueError(f"{path}: checkpoint format {found}, this version reads {FORMAT}; update llama_avsr")
    listed = check_listed(path, config, is_sealed=len(body) < len(content))
    return {**config, FILES: listed, "options": {**options}}


def read_options(folder: Path) -> dict[str, Any]:
    """The options that a checkpoint was trained with. Raises ValueError where it is not a checkpoint."""
    return read_config(folder)["options"]


def read_state(folder: Path) -> dict[str, Tensor]:
    """The tensors of a checkpoint, on the CPU. Raises ValueError where it is not a checkpoint, or damaged."""
    path = _part(folder, WEIGHTS)
    try:
        state = load_file(path)
    except SafetensorError as error:
        raise ValueError(f"{path}: damaged, not a safetensors file ({error}); copy it again") from None
    check_file(path, read_config(folder)[FILES])
    check_finite(state, str(path))
    return state


def read_resume(folder: Path) -> dict[str, Any]:
    """Lightning's state, on the CPU. Raises ValueError where there is none, or it is damaged."""
    path = _part(folder, RESUME)
    check_file(path, read_config(folder)[FILES])
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, OSError, EOFError, ValueError, KeyError, pickle.UnpicklingError) as error:
        first = str(error).strip().split("\n")[0]
        raise ValueError(f"{path}: damaged, it cannot be read ({first}); copy it again") from None


def verify(folder: Path) -> None:
    """Raises ValueError, naming the file, for a checkpoint that nothing can be resumed from.

    One of version 0.1 lists no checksums: its files are read instead.
    """
    listed = read_config(folder)[FILES]
    for name in (WEIGHTS, RESUME):
        check_file(folder / name, listed)
    if RESUME not in listed:
        read_resume(folder)
    if WEIGHTS not in listed:
        read_state(folder)


def _part(folder: Path, name: str) -> Path:
    if not folder.exists():
        raise ValueError(f"{folder}: no such checkpoint; expected a folder with {WEIGHTS} and {CONFIG}")
    path = folder / name
    if not path.is_file():
        raise ValueError(
            f"{folder}: found no {name}; expected a checkpoint folder with {WEIGHTS} and {CONFIG}"
        )
    return path


def _some(keys: list[str]) -> str:
    return ", ".join(keys[:3]) + (f" and {len(keys) - 3} more" if len(keys) > 3 else "")


def progress(resume: Mapping[str, Any]) -> dict[str, Any]:
    """How far training was: the epoch (from 0), optimiser steps, and whether the epoch was finished."""
    loop = resume.get("loops", {}).get("fit_loop", {})
    epochs = loop.get("epoch_progress", {}).get("current", {})
    batches = loop.get("epoch_loop.batch_progress", {})
    return {
        "epoch": int(resume.get("epoch", 0)),
        "step": int(resume.get("global_step", 0)),
        # Where training is told to stop, Lightning takes the epoch for processed as well.
        "epoch_finished": bool(epochs)
        and epochs["processed"] == epochs["ready"]
        and bool(batches.get("is_last_batch")),
    }
