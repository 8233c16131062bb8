"""Importer for the checkpoints that Llama-AVSR's authors published.

    python eval_LLM.py --pretrained-model-path released.pth <the flags of its README> --root-dir DATA
    python -m llama_avsr.released convert released.pth OUT_DIR <the flags of its README>

A release is a plain state dict that holds everything, the frozen LLM and encoders included. Its weights win
over the pretrained ones: BatchNorm statistics and the rows of the added tokens are nowhere else.
"""

from __future__ import annotations

import logging
import pickle
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from llama_avsr import checkpoint, cli
from llama_avsr.build import build_model, streams_of
from llama_avsr.llm import token_matrices
from llama_avsr.model import SpeechLLM
from llama_avsr.options import Options, merge_with_checkpoint, to_dict

LOGGER = logging.getLogger(__name__)

PROJECTORS = ("audio_proj", "video_proj", "audiovisual_proj")
IGNORED = ("mask_emb", "label_embs_concat", "final_proj.")
"""Parts of AV-HuBERT's pretraining that no features come from."""
LLM_LORA = {
    "lora_down_Q": "q_proj.lora_A.default",
    "lora_up_Q": "q_proj.lora_B.default",
    "lora_down_V": "v_proj.lora_A.default",
    "lora_up_V": "v_proj.lora_B.default",
}
TOKEN_MATRICES = {"llm.model.embed_tokens.weight": "embedding", "llm.lm_head.weight": "head"}


@dataclass(frozen=True)
class Imported:
    """How the file's tensors compare with the pretrained ones."""

    new: int
    """Not in any pretrained file: projectors, LoRA, rows of added tokens."""
    different: int
    equal: int
    """Equal once the pretrained ones are rounded to the file's precision."""

    def __str__(self) -> str:
        return (
            f"{self.new} tensors of its own, {self.different} that differ from the pretrained files, "
            f"{self.equal} that are equal to them"
        )


def is_release(path: Path) -> bool:
    """Whether a path can only mean a published file; our own checkpoints are folders."""
    return path.is_file()


def read(path: Path) -> dict[str, Tensor]:
    """The tensors of a release, memory-mapped. Nothing in the file is run.

    Raises ValueError for a file that is none.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError) as error:
        first = str(error).strip().split("\n")[0]
        raise ValueError(
            f"{path}: not a state dict that can be read without running code ({first})"
        ) from None
    state = state.get("state_dict", state) if isinstance(state, dict) else {}
    if not any(key.startswith(PROJECTORS) for key in state) or not any(
        key.startswith("llm.") for key in state
    ):
        some = ", ".join(list(map(str, state))[:3]) or "nothing"
        raise ValueError(
            f"{path}: expected a published Llama-AVSR checkpoint (tensors llm.*, *_proj.*), found {some}"
        )
    return state


def release_options(options: Options, explicit: Sequence[str]) -> Options:
    """Evaluation options completed and checked, with what the releases were trained with."""
    options = merge_with_checkpoint(options, explicit, None)
    if options.llm.quantization != "none":
        raise ValueError(
            f"--quantization {options.llm.quantization}: a published checkpoint brings the LLM's own "
            "weights, which are not quantised; leave the flag out"
        )
    # They were trained and evaluated in bf16: weights, and the arithmetic that counted Whisper's frames.
    implied = {"whisper_length_rounding": "bfloat16", "pretrained_rounding": "bfloat16"}
    return options.updated({name: value for name, value in implied.items() if name not in explicit})


def load_release(model: SpeechLLM, options: Options, path: Path, keep_equal: bool = False) -> Imported:
    """Put a release's weights into a model that was built with its flags.

    keep_equal: leave the pretrained weights where the file's are the same, rounded.
    Raises ValueError, a line for each fault, where the file contradicts the flags.
    """
    state = read(path)
    faults = list(_contradictions(model, options, state))
    if faults:
        raise ValueError("\n".join(f"{path.name}: {fault}" for fault in faults))
    translated = {_our_name(key, model): value for key, value in state.items() if not _is_ignored(key)}
    own = model.state_dict(keep_vars=True)
    tied = set() if "head" in token_matrices(model.llm) else {"llm.lm_head.weight"}
    missing = sorted(own.keys() - translated.keys() - tied)
    unexpected = sorted(translated.keys() - own.keys())
    if missing or unexpected:
        raise ValueError(
            f"{path.name} does not fit these flags: missing {missing[:3] or 'nothing'}, "
            f"unexpected {unexpected[:3] or 'nothing'}"
        )
    return _copy(model, own, translated, keep_equal)


def _copy(model: SpeechLLM, own: dict[str, Tensor], state: dict[str, Tensor], keep_equal: bool) -> Imported:
    counts = {"new": 0, "different": 0, "equal": 0}
    first_added = min(model.vocabulary.added)
    with torch.no_grad():
        for key, value in state.items():
            # A token matrix is compared without the added rows, which a checkpoint keeps by themselves.
            rows = slice(0, first_added) if key in TOKEN_MATRICES else ...
            same = torch.equal(own[key].detach()[rows].to(value.dtype), value[rows])
            if key in model.changed:
                counts["new"] += 1
            elif same:
                counts["equal"] += 1
            else:
                counts["different"] += 1
                model.changed.add(key)
            if not (same and keep_equal):
                own[key].copy_(value)
            elif key in TOKEN_MATRICES:
                own[key][first_added:] = value[first_added:].to(own[key].dtype)
    return Imported(**counts)


def _our_name(key: str, model: SpeechLLM) -> str:
    part, _, rest = key.partition(".")
    if part in PROJECTORS:
        return f"projectors.{part.removesuffix('_proj')}.{rest}"
    if part.endswith("_encoder"):
        return f"encoders.{part.removesuffix('_encoder')}.encoder.{rest}"
    for published, peft in LLM_LORA.items():
        key = key.replace(published, peft)
    name, _, kind = key.rpartition(".")
    adapted = f"{name}.base_layer.{kind}"
    return adapted if _has(model, adapted) else key


def _has(model: nn.Module, key: str) -> bool:
    try:
        model.get_parameter(key)
    except AttributeError:
        return False
    return True


def _is_ignored(key: str) -> bool:
    part, _, rest = key.partition(".")
    return part.endswith("_encoder") and rest.startswith(IGNORED)


def _contradictions(model: SpeechLLM, options: Options, state: dict[str, Tensor]) -> Iterator[str]:
    """What the flags say against what the tensors' shapes say."""
    yield from _stream_faults(options, state)
    yield from _llm_faults(model, options, state)
    for stream in streams_of(options):
        if f"{stream.name}_proj.0.weight" in state:
            yield from _projector_faults(model, options, state, stream.name, stream.encoder)
    lora = any(key.split(".")[0].endswith("_encoder") and ".lora_" in key for key in state)
    if options.has_avhubert and lora != options.encoder.use_lora_avhubert:
        found = "LoRA" if lora else "no LoRA"
        yield f"--use-lora-avhubert {options.encoder.use_lora_avhubert}, the file has {found} in AV-HuBERT"


def _stream_faults(options: Options, state: dict[str, Tensor]) -> Iterator[str]:
    wanted = sorted(stream.name for stream in streams_of(options))
    found = sorted(name.removesuffix("_proj") for name in PROJECTORS if f"{name}.0.weight" in state)
    if wanted != found:
        yield (
            f"--modality {options.task.modality} needs projectors for {', '.join(wanted)}, the file has "
            f"them for {', '.join(found)}"
        )


def _llm_faults(model: SpeechLLM, options: Options, state: dict[str, Tensor]) -> Iterator[str]:
    rows, width = state["llm.model.embed_tokens.weight"].shape
    own_rows, own_width = token_matrices(model.llm)["embedding"].shape
    layers = 1 + max(int(key.split(".")[3]) for key in state if key.startswith("llm.model.layers."))
    name = options.llm.llm_model
    for what, own, found in (
        ("width", own_width, width),
        ("layers", model.llm.config.num_hidden_layers, layers),
        ("rows of tokens", own_rows, rows),
    ):
        if own != found:
            yield f"--llm-model {name}: {own} {what}, the file's LLM has {found}"
    ranks = {len(value) for key, value in state.items() if key.startswith("llm.") and "lora_down" in key}
    if bool(ranks) != (options.lora.add_PETF_LLM is not None):
        found = "LoRA" if ranks else "no LoRA"
        yield f"--add_PETF_LLM {options.lora.add_PETF_LLM}, the file has {found} in its LLM"
    elif ranks and ranks != {options.lora.rank(own_width)}:
        yield f"LoRA flags give rank {options.lora.rank(own_width)}, the file has rank {min(ranks)}"


def _projector_faults(
    model: SpeechLLM, options: Options, state: dict[str, Tensor], name: str, encoder: str
) -> Iterator[str]:
    own = model.projectors[name]
    hidden, width = state[f"{name}_proj.0.weight"].shape
    dim = model.encoders[encoder].dim
    if width != own[0].in_features:
        flags = f"--compression-mode {options.compression.compression_mode} --downsample-ratio-{name} "
        flags += str(options[f"downsample_ratio_{name}"])
        found = f"{width // dim} stacked frames" if width > dim else "single or averaged frames"
        yield f"{flags} gives {own[0].in_features} values a token, the file takes {width} ({found} of {dim})"
    if hidden != own[0].out_features:
        yield f"--intermediate-size {own[0].out_features}, the file has {hidden}"
    layer_norm = f"{name}_proj.3.weight" in state
    if layer_norm != options.projector.layernorm_projector:
        found = f"the file's projector ends with {'a' if layer_norm else 'no'} LayerNorm"
        yield f"--layernorm-projector {options.projector.layernorm_projector}, {found}"


def convert(path: Path, folder: Path, options: Options) -> Imported:
    """Write a release as a checkpoint folder: its own tensors and those that differ from the pretrained."""
    model = build_model(options)
    imported = load_release(model, options, path, keep_equal=True)
    state = {key: _narrow(value) for key, value in checkpoint.saved_state(model).items()}
    checkpoint.write(folder, state, to_dict(options))
    return imported


def _narrow(value: Tensor) -> Tensor:
    """In bf16 where that loses nothing: so the releases are stored."""
    narrow = value.to(torch.bfloat16)
    return narrow if value.is_floating_point() and torch.equal(narrow.to(value.dtype), value) else value


def main(argv: list[str]) -> None:
    usage = "usage: python -m llama_avsr.released convert released.pth OUT_DIR <the flags of its README>"
    if argv[:1] in ([], ["--help"], ["-h"]):
        print(__doc__.strip() + "\n\n" + usage)
        return
    if argv[0] != "convert" or len(argv) < 3 or any(word.startswith("-") for word in argv[1:3]):
        raise ValueError(f"{usage}; found {' '.join(argv)}")
    path, folder = Path(argv[1]), Path(argv[2])
    if not path.is_file():
        raise ValueError(f"{path}: found no such file; expected a published .pth")
    # The data set plays no part in a conversion.
    parsed = cli.parse(
        [*argv[3:], "--pretrained-model-path", str(path), "--root-dir", str(folder)], "eval", "convert"
    )
    cli.setup_logging(parsed.options.run.debug)
    options = release_options(parsed.options, parsed.explicit)
    imported = convert(path, folder, options)
    size = sum(file.stat().st_size for file in folder.iterdir()) / 1e6
    print(f"{path} ({path.stat().st_size / 1e6:.1f} MB): {imported}")
    print(f"{folder} ({size:.1f} MB) holds those of its own and those that differ")


if __name__ == "__main__":
    cli.run(main, sys.argv[1:])
