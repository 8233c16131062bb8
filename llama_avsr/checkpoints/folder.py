"""Checkpoints: small, self-describing folders.

    epoch=02-step=000750/
        model.safetensors   what was trained, and the rows of the added tokens; never a frozen encoder or LLM
        config.yaml         all options, and the versions that wrote it
        resume.pt           Lightning's state (optimiser, schedule, loops); only needed to resume

Each is written under a temporary name and renamed, so that a folder that exists is complete. Nothing in them
is ever run as code.
"""

from __future__ import annotations

import os
import shutil
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
import yaml
from lightning_fabric.plugins import CheckpointIO
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import PreTrainedModel

from llama_avsr.model.llm import Vocabulary, token_matrices
from llama_avsr.model.quantisation import is_quantised
from llama_avsr.model.speech_llm import SpeechLLM
from llama_avsr.options import safe_yaml

WEIGHTS, CONFIG, RESUME = "model.safetensors", "config.yaml", "resume.pt"
AVERAGE = "average"
"""The folder in a run that holds the mean of its last checkpoints."""
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


def write(folder: Path, state: dict[str, Tensor], options: dict[str, Any], resume: Any = None) -> None:
    """Write a checkpoint folder; an older one of the same name is replaced."""
    temporary = folder.with_name(f".{folder.name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    save_file({key: value.contiguous().cpu() for key, value in state.items()}, temporary / WEIGHTS)
    versions = {name: version(name) for name in PACKAGES}
    config = {"format": FORMAT, "options": options, "versions": versions}
    (temporary / CONFIG).write_text(yaml.safe_dump(config, sort_keys=False))
    # safetensors writes for the owner's eyes only; colleagues share folders.
    shutil.copymode(temporary / CONFIG, temporary / WEIGHTS)
    if resume is not None:
        torch.save(resume, temporary / RESUME)
    old = folder.with_name(f".{folder.name}.old")
    if folder.exists():
        os.replace(folder, old)
    os.replace(temporary, folder)
    shutil.rmtree(old, ignore_errors=True)


def find_checkpoint(path: Path) -> Path:
    """The checkpoint folder that a path means: itself, or the average of the run that it is.

    Raises ValueError where there is none.
    """
    for folder in (path, path / AVERAGE):
        if (folder / CONFIG).is_file():
            return folder
    what = "found no such folder" if not path.exists() else f"found no {CONFIG} in it"
    expected = f"a checkpoint folder ({WEIGHTS} and {CONFIG}) or the folder of a finished run"
    inside = sorted(path.glob(f"checkpoints/[!.]*/{CONFIG}"))
    if inside:
        what, expected = "this run is not finished", f"one of its checkpoints, such as {inside[-1].parent}"
    raise ValueError(f"--pretrained-model-path {path}: {what}; expected {expected}")


def read_options(folder: Path) -> dict[str, Any]:
    """The options that a checkpoint was trained with. Raises ValueError where it is not a checkpoint."""
    path = _part(folder, CONFIG)
    try:
        config = safe_yaml.load(path.read_text(encoding="utf-8"))
    except UnicodeDecodeError:
        raise ValueError(f"{path}: not the config of a checkpoint (not UTF-8); copy it again") from None
    except ValueError as error:
        raise ValueError(f"{path}: not the config of a checkpoint ({error}); copy it again") from None
    found, options = (
        (config.get("format"), config.get("options")) if isinstance(config, dict) else (None, None)
    )
    if not isinstance(found, int) or not isinstance(options, dict):
        raise ValueError(
            f"{path}: not the config of a checkpoint (expected format and options); train or convert it again"
        )
    if found != FORMAT:
        raise ValueError(f"{path}: checkpoint format {found}, this version reads {FORMAT}; update llama_avsr")
    return options


def read_state(folder: Path) -> dict[str, Tensor]:
    """The tensors of a checkpoint, on the CPU. Raises ValueError where it is not a checkpoint."""
    path = _part(folder, WEIGHTS)
    try:
        return load_file(path)
    except SafetensorError as error:
        raise ValueError(f"{path}: not a safetensors file ({error}); copy it again") from None


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


class FolderCheckpointIO(CheckpointIO):
    """Lets Lightning write and read its checkpoints as folders of the above form."""

    def __init__(self, options: dict[str, Any]) -> None:
        self.options = options

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        resume = {key: value for key, value in checkpoint.items() if key != "state_dict"}
        write(Path(path), checkpoint["state_dict"], self.options, resume)

    def load_checkpoint(
        self, path: Any, map_location: Any = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        resume = torch.load(_part(Path(path), RESUME), map_location="cpu", weights_only=True)
        return {**resume, "state_dict": read_state(Path(path))}

    def remove_checkpoint(self, path: Any) -> None:
        shutil.rmtree(path, ignore_errors=True)
