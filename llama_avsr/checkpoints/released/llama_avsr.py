"""Llama-AVSR's releases: plain state dicts that hold everything, the frozen LLM and encoders included."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

from torch import Tensor

from llama_avsr.checkpoints.released.weights import has_parameter
from llama_avsr.model.llm import token_matrices
from llama_avsr.model.speech_llm import SpeechLLM
from llama_avsr.options import FIELDS, Options, merge_with_checkpoint
from llama_avsr.tasks import Stream

NAME = "Llama-AVSR (tensors llm.*, *_proj.*)"
PROJECTORS = ("audio_proj", "video_proj", "audiovisual_proj")
IGNORED = ("mask_emb", "label_embs_concat", "final_proj.")
"""Parts of AV-HuBERT's pretraining that no features come from."""
LLM_LORA = {
    "lora_down_Q": "q_proj.lora_A.default",
    "lora_up_Q": "q_proj.lora_B.default",
    "lora_down_V": "v_proj.lora_A.default",
    "lora_up_V": "v_proj.lora_B.default",
}

IMPLIED = {
    "whisper_length_rounding": "bfloat16",
    "pretrained_rounding": "bfloat16",
    "rotary_rounding": "bfloat16",
}
"""They were trained and evaluated in bf16: weights, the arithmetic that counted Whisper's frames, and the
LLM's rotary frequencies."""


def is_one(state: Collection[str]) -> bool:
    return any(key.startswith(PROJECTORS) for key in state) and any(key.startswith("llm.") for key in state)


def complete(
    options: Options, explicit: Collection[str], state: dict[str, Tensor], program: str = "eval"
) -> Options:
    """The file carries no options: all come from the flags. Raises ValueError for --quantization."""
    options = merge_with_checkpoint(options, explicit, None, program=program)
    if options.llm.quantization != "none":
        raise ValueError(
            f"--quantization {options.llm.quantization}: a published checkpoint brings the LLM's own "
            "weights, which are not quantised; leave the flag out"
        )
    implied: dict[str, Any] = {name: value for name, value in IMPLIED.items() if name not in explicit}
    return options.updated(implied)


def translate(state: dict[str, Tensor], model: SpeechLLM) -> dict[str, Tensor]:
    """The tensors by the model's names."""
    return {_our_name(key, model): value for key, value in state.items() if not _is_ignored(key)}


def may_lack(model: SpeechLLM) -> set[str]:
    """Names that a file may do without: a tied head."""
    return set() if "head" in token_matrices(model.llm) else {"llm.lm_head.weight"}


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
    return adapted if has_parameter(model, adapted) else key


def _is_ignored(key: str) -> bool:
    part, _, rest = key.partition(".")
    return part.endswith("_encoder") and rest.startswith(IGNORED)


def contradictions(model: SpeechLLM, options: Options, state: dict[str, Tensor]) -> Iterator[str]:
    """What the flags say against what the tensors' shapes say."""
    yield from _stream_faults(options, state)
    yield from llm_faults(model, options, state)
    for stream in options.streams:
        if f"{stream.name}_proj.0.weight" in state:
            (rate,), prefix = options.rates(stream), f"{stream.name}_proj"
            yield from projector_faults(model, options, state, stream, stream.name, prefix, rate)
    yield from encoder_faults(options, state)


def encoder_faults(options: Options, state: Collection[str]) -> Iterator[str]:
    lora = any(key.split(".")[0].endswith("_encoder") and ".lora_" in key for key in state)
    if options.has_avhubert and lora != options["use_lora_avhubert"]:
        found = "LoRA" if lora else "no LoRA"
        yield f"--use-lora-avhubert {options['use_lora_avhubert']}, the file has {found} in AV-HuBERT"


def _stream_faults(options: Options, state: dict[str, Tensor]) -> Iterator[str]:
    wanted = sorted(stream.name for stream in options.streams)
    found = sorted(name.removesuffix("_proj") for name in PROJECTORS if f"{name}.0.weight" in state)
    if wanted != found:
        yield (
            f"--modality {options.goal.modality} needs projectors for {', '.join(wanted)}, the file has "
            f"them for {', '.join(found)}"
        )


def llm_faults(model: SpeechLLM, options: Options, state: dict[str, Tensor]) -> Iterator[str]:
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


def projector_faults(
    model: SpeechLLM,
    options: Options,
    state: dict[str, Tensor],
    stream: Stream,
    part: str,
    prefix: str,
    rate: int,
) -> Iterator[str]:
    """part: the projector's name here, at a rate. prefix: the same in the file."""
    own = model.projectors[part]
    hidden, width = state[f"{prefix}.0.weight"].shape
    dim = model.encoders[stream.encoder].dim
    if width != own[0].in_features:
        flags = f"--compression-mode {options.compression.compression_mode} {FIELDS[stream.ratio].flag} "
        flags += str(rate)
        found = f"{width // dim} stacked frames" if width > dim else "single or averaged frames"
        yield f"{flags} gives {own[0].in_features} values a token, the file takes {width} ({found} of {dim})"
    if hidden != own[0].out_features:
        yield f"--intermediate-size {own[0].out_features}, the file has {hidden}"
    layer_norm = f"{prefix}.3.weight" in state
    if layer_norm != options.projector.layernorm_projector:
        found = f"the file's projector ends with {'a' if layer_norm else 'no'} LayerNorm"
        yield f"--layernorm-projector {options.projector.layernorm_projector}, {found}"
