"""An aligner on the disk: `words.safetensors` beside the weights of its model."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file

from datamodules.files import whole_or_nothing
from llama_avsr.checkpoints.folder import WORDS, list_file, read_config
from llama_avsr.checkpoints.integrity import FILES, check_file, check_finite
from llama_avsr.words.aligner import Aligner
from llama_avsr.words.confidence import FEATURES, Calibration
from llama_avsr.words.spelling import MAX_CHARACTERS, Spelling

FORMAT = 1
MAX_DIM = 1 << 16
ABOUT = "about"


@dataclass(frozen=True)
class WordModel:
    """What makes words with times and confidence of a model's transcripts."""

    aligner: Aligner
    calibration: Calibration | None = None
    """None where nothing was there to fit it on."""


def write(folder: Path, words: WordModel) -> None:
    """Put it into a checkpoint's folder, whose config lists it from now on."""
    about = {
        "format": FORMAT,
        "characters": words.aligner.spelling.characters,
        "dims": words.aligner.dims,
        "rates_hz": words.aligner.rates_hz,
    }
    if words.calibration is not None:
        fitted = dict(zip(FEATURES, words.calibration.weights, strict=True))
        about["calibration"] = {"weights": fitted, "bias": words.calibration.bias}
    state = {key: value.detach().cpu().contiguous() for key, value in words.aligner.state_dict().items()}
    check_finite(state, str(folder / WORDS))
    with whole_or_nothing(folder / WORDS) as temporary:
        save_file(state, temporary, metadata={ABOUT: json.dumps(about)})
        temporary.chmod(0o644)  # safetensors writes for the owner's eyes only
    list_file(folder, WORDS)


def read(folder: Path) -> WordModel | None:
    """That of a checkpoint's folder; None where it has none. Raises ValueError for damage."""
    path = folder / WORDS
    if not path.is_file():
        return None
    check_file(path, read_config(folder)[FILES])
    remedy = "make it again with `llama-avsr align`"
    try:
        with safe_open(path, "pt") as file:
            about = _checked(json.loads((file.metadata() or {})[ABOUT]))
        state = load_file(path)
        aligner = Aligner(Spelling(about["characters"]), about["dims"], about["rates_hz"])
        aligner.load_state_dict(state)
        calibration = _calibration(about.get("calibration"))
    except (SafetensorError, ValueError, KeyError, TypeError, RuntimeError, RecursionError) as error:
        first = str(error).strip().split("\n")[0]
        raise ValueError(f"{path}: not an aligner of this version ({first}); {remedy}") from None
    check_finite(state, str(path))
    return WordModel(aligner.eval().requires_grad_(False), calibration)


def _checked(about: Any) -> dict[str, Any]:
    """Raises ValueError, KeyError or TypeError for what `write` does not write."""
    if about["format"] != FORMAT:
        raise ValueError(f"format {about['format']}, this version reads {FORMAT}")
    dims = {str(name): int(dim) for name, dim in about["dims"].items()}
    rates = {name: float(about["rates_hz"][name]) for name in dims}
    characters = str(about["characters"])
    sizes_fit = 0 < len(dims) <= 8 and all(0 < dim <= MAX_DIM for dim in dims.values())
    if not sizes_fit or len(characters) > MAX_CHARACTERS or not all(rate > 0 for rate in rates.values()):
        raise ValueError("sizes out of range")
    return {**about, "characters": characters, "dims": dims, "rates_hz": rates}


def _calibration(fitted: Any) -> Calibration | None:
    if fitted is None:
        return None
    weights = tuple(float(fitted["weights"][name]) for name in FEATURES)
    return Calibration(weights, float(fitted["bias"]))
