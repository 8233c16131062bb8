"""AV-HuBERT on disk: load a fairseq `.pt` or a folder, write a folder.

    python -m av_hubert.checkpoint large_vox_iter5.pt large_vox_iter5/

converts once. The folder holds `config.json` and `model.safetensors` and is taken wherever the `.pt` is.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from dataclasses import asdict, fields, replace
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from av_hubert import fairseq_file
from av_hubert.config import AVHubertConfig
from av_hubert.model import AVHubert

CONFIG_NAME = "config.json"
WEIGHTS_NAME = "model.safetensors"
MODEL_TYPE = "av_hubert"
NAMES_SHOWN = 5


def load_checkpoint(path: str | Path, **settings: float) -> AVHubert:
    """Load an AV-HuBERT, in eval mode, on the CPU, in float32 whatever the file's precision.

    path: a fairseq `.pt` of any layout, a folder written by `save_pretrained`, or its `model.safetensors`.
    settings: of AVHubertConfig, in place of the file's (`layer_drop=0.1`).
    Raises UnsafePickleError (a ValueError) for a pickle that could run code, which is not run, and
    ValueError for anything else that is not a whole AV-HuBERT.
    """
    path = Path(path)
    if not path.exists():
        raise ValueError(f"{path}: no such file; expected a fairseq .pt or a folder with {CONFIG_NAME}")
    if path.is_dir() or path.suffix == ".safetensors":
        state, config = _read_folder(path if path.is_dir() else path.parent)
    else:
        state, config = fairseq_file.read(path)
    return build(state, replace(config, **settings), str(path))


def build(state: dict[str, Tensor], config: AVHubertConfig, source: str) -> AVHubert:
    """Make a network out of exactly these tensors, converted to float32, in eval mode.

    `source` names the file in errors. Raises ValueError naming missing, unexpected or misshapen tensors.
    """
    with torch.device("meta"):  # no time spent on random weights
        model = AVHubert(config)
    expected = model.state_dict()
    _check_names("misses", expected.keys() - state.keys(), source)
    _check_names("has unexpected", state.keys() - expected.keys(), source)
    for name, tensor in state.items():
        if tensor.shape != expected[name].shape:
            raise ValueError(
                f"{source}: {name} has shape {list(tensor.shape)}, expected {list(expected[name].shape)}"
            )
    full = {name: tensor.float() if tensor.is_floating_point() else tensor for name, tensor in state.items()}
    model.load_state_dict(full, assign=True)
    return model.eval()


def save_pretrained(model: AVHubert, folder: str | Path, dtype: torch.dtype = torch.float32) -> None:
    """Write `config.json` and `model.safetensors`, each under a temporary name first.

    dtype: storage of the weights; float16 halves the file. BatchNorm statistics stay as they are.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    weights = dict(model.named_parameters())
    state = {
        name: tensor.detach().to("cpu", dtype if name in weights else tensor.dtype).contiguous()
        for name, tensor in model.state_dict().items()
    }
    config = {"model_type": MODEL_TYPE, **asdict(model.config)}
    temporary = {name: folder / f".{name}.{os.getpid()}" for name in (WEIGHTS_NAME, CONFIG_NAME)}
    try:
        save_file(state, temporary[WEIGHTS_NAME], metadata={"format": "pt"})
        temporary[CONFIG_NAME].write_text(json.dumps(config, indent=2) + "\n")
        # safetensors leaves the file to its owner alone; share it as any other.
        temporary[WEIGHTS_NAME].chmod(temporary[CONFIG_NAME].stat().st_mode)
        for name, path in temporary.items():
            path.replace(folder / name)
    finally:
        for path in temporary.values():
            path.unlink(missing_ok=True)


def _read_folder(folder: Path) -> tuple[dict[str, Tensor], AVHubertConfig]:
    for name in (CONFIG_NAME, WEIGHTS_NAME):
        if not (folder / name).is_file():
            raise ValueError(
                f"{folder}: no {name}; expected what `python -m av_hubert.checkpoint IN.pt OUT_DIR` writes"
            )
    config = _read_config(folder / CONFIG_NAME)
    try:
        return load_file(folder / WEIGHTS_NAME), config
    except SafetensorError as error:
        raise ValueError(f"{folder / WEIGHTS_NAME}: not readable ({error}); convert the .pt again") from error


def _read_config(path: Path) -> AVHubertConfig:
    try:
        values = json.loads(path.read_text())
    except ValueError as error:
        raise ValueError(f"{path}: not readable as JSON ({error})") from error
    model_type = values.pop("model_type", None) if isinstance(values, dict) else None
    if model_type != MODEL_TYPE:
        raise ValueError(f"{path}: found model_type {model_type!r}, expected {MODEL_TYPE!r}")
    unknown = values.keys() - {field.name for field in fields(AVHubertConfig)}
    if unknown:
        raise ValueError(f"{path}: unknown settings {sorted(unknown)}; is the file from a newer version?")
    return AVHubertConfig(**values)


def _check_names(problem: str, names: set[str], source: str) -> None:
    if names:
        shown = ", ".join(sorted(names)[:NAMES_SHOWN])
        rest = f" and {len(names) - NAMES_SHOWN} more" if len(names) > NAMES_SHOWN else ""
        raise ValueError(f"{source}: {problem} {len(names)} tensors: {shown}{rest}; is it an AV-HuBERT?")


def convert(source: Path, folder: Path, dtype: torch.dtype = torch.float32) -> str:
    """Convert a checkpoint into a folder. Returns what was read and written, for people."""
    model = load_checkpoint(source)
    save_pretrained(model, folder, dtype)
    config = model.config
    num_parameters = sum(parameter.numel() for parameter in model.parameters())
    lines = [
        f"read    {source} ({_megabytes(source)}): {len(model.state_dict())} tensors, "
        f"{num_parameters:,} parameters",
        f"        {config.num_layers} layers, width {config.dim}, {config.num_heads} heads, {config.fusion}, "
        f"{'pre' if config.layer_norm_first else 'post'}-norm, {config.resnet_activation}",
    ]
    lines += [
        f"written {folder / name} ({_megabytes(folder / name)})" for name in (CONFIG_NAME, WEIGHTS_NAME)
    ]
    return "\n".join(lines)


def _megabytes(path: Path) -> str:
    files = [path] if path.is_file() else [file for file in path.iterdir() if file.is_file()]
    return f"{sum(file.stat().st_size for file in files) / 1e6:.1f} MB"


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m av_hubert.checkpoint", description=__doc__.split("\n")[0]
    )
    parser.add_argument("source", type=Path, help="fairseq .pt to read; nothing in it is run")
    parser.add_argument("folder", type=Path, help="folder to write config.json and model.safetensors to")
    parser.add_argument("--half", action="store_true", help="store weights as float16")
    options = parser.parse_args(arguments)
    try:
        print(convert(options.source, options.folder, torch.float16 if options.half else torch.float32))
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
