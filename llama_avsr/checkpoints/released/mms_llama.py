"""MMS-LLaMA's releases: fairseq files with what was trained; no encoder, base LLM or predictor is inside."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from typing import Any

import torch
from torch import Tensor

from llama_avsr.model.speech_llm import SpeechLLM
from llama_avsr.options import Options, merge_with_checkpoint
from llama_avsr.tasks.fused import FUSED

NAME = "MMS-LLaMA (tensors query_tokens, Qformer.*, avfeat_to_llm.layers.*)"
QUERIES = "query_tokens"
PROJECTOR = "avfeat_to_llm.layers.{}.weight"
CONVOLUTION = "afeat_1d_conv.weight"
HEAD = "llama.lm_head.weight"
LAYER = re.compile(r"Qformer\.bert\.encoder\.layer\.(\d+)\.intermediate_query\.dense\.weight")
LORA = re.compile(r"llama\.model\.layers\.(\d+)\..*\.(\w+)\.lora_A\.default\.weight")
IGNORED = re.compile(
    r"Qformer\.cls\..*|Qformer\.bert\.embeddings\.(word_|position_).*"
    r"|Qformer\.bert\.encoder\.layer\.\d+\.(intermediate|output)\..*"  # of text, which is never put in
    r"|llama\.(?!.*lora_).*"  # the head, and what describes quantised weights
)
COMPRESSOR = f"compressors.{FUSED.name}"
RENAMED = {
    "query_tokens": f"{COMPRESSOR}.query_tokens",
    "Qformer.bert.embeddings.LayerNorm.": f"{COMPRESSOR}.network.layernorm.",
    "Qformer.bert.": f"{COMPRESSOR}.network.",
    "afeat_1d_conv.": f"fusions.{FUSED.name}.slow_down.",
    "avfeat_to_llm.layers.": f"projectors.{FUSED.name}.",
    "llama.": "llm.",
    "avhubert.w2v_model.": "encoders.video.encoder.",
}
DECODING = {"num_beams": 5, "max_dec_tokens": 100, "length_penalty": 1.0}
"""What they were evaluated with, but that they drew at random."""
TRAINED_WITH = {"whisper_waveform": "as-read", "rotary_rounding": "float16"}
"""Sound as the files have it, everything in fp16."""


def is_one(state: Collection[str]) -> bool:
    return QUERIES in state and PROJECTOR.format(0) in state


def complete(
    options: Options, explicit: Collection[str], state: dict[str, Tensor], program: str = "eval"
) -> Options:
    """Options as the file implies them; LLM, encoders and speech-rate predictor must be given.

    Raises ValueError for a flag that contradicts the file.
    """
    implied, added = _implied(state), {**DECODING, **TRAINED_WITH}
    # For as many seconds of the fastest speech there are queries.
    per_second = 2 * options["qformer_queries_per_second"]
    added["qformer_max_seconds"] = state[QUERIES].shape[1] / per_second
    options = options.updated({name: value for name, value in added.items() if name not in explicit})
    return merge_with_checkpoint(options, explicit, implied, implied.keys(), program)


def _implied(state: dict[str, Tensor]) -> dict[str, Any]:
    adapted = {match[2]: len(value) for key, value in state.items() if (match := LORA.fullmatch(key))}
    layers = {match[1]: len(value) for key, value in state.items() if (match := LAYER.fullmatch(key))}
    return {
        "task": "fused",
        "modality": "audiovisual",
        "compression_mode": "qformer",
        "qformer_layers": len(layers),
        "qformer_width": state[QUERIES].shape[2],
        "qformer_ffn_width": max(layers.values(), default=1),
        "projector_type": "two-linear",
        "intermediate_size": len(state[PROJECTOR.format(0)]),
        "add_PETF_LLM": "lora",
        "lora_rank": max(adapted.values(), default=1),
        "lora_targets": sorted(adapted),
    }


def translate(state: dict[str, Tensor], model: SpeechLLM) -> dict[str, Tensor]:
    """The tensors by the model's names."""
    return {_our_name(key): value for key, value in state.items() if not IGNORED.fullmatch(key)}


def _our_name(key: str) -> str:
    for theirs, ours in RENAMED.items():
        if key.startswith(theirs):
            return ours + key.removeprefix(theirs).replace("attention.self.", "attention.attention.")
    return key


def may_lack(model: SpeechLLM) -> set[str]:
    """Names that a file may do without: all that comes from other files."""
    own = model.state_dict(keep_vars=True)
    base = {key for key in own if key.startswith("llm.") and "lora_" not in key}
    return base | {key for key in own if key.startswith(("encoders.", f"{COMPRESSOR}.predictor."))}


def contradictions(model: SpeechLLM, options: Options, state: dict[str, Tensor]) -> Iterator[str]:
    """What the LLM, the encoders and the flags say against what the tensors say."""
    if options["speech_rate_predictor"] is None:
        yield "--speech-rate-predictor is missing: the published predictor, without which it was not trained"
    name, embedding = options.llm.llm_model, model.llm.get_input_embeddings().weight
    width = len(state[PROJECTOR.format(1)])
    if (found := embedding.shape[1]) != width:
        yield f"--llm-model {name}: width {found}, the file was trained with {width}"
    elif HEAD in state and not _same_rows(embedding, state[HEAD]):
        yield f"--llm-model {name}: its tokens' embeddings are not those that the file was trained with"
    layers = {match[1] for key in state if (match := LORA.fullmatch(key))}
    if (found := model.llm.config.num_hidden_layers) != len(layers):
        yield f"--llm-model {name}: {found} layers, the file adapts {len(layers)}"
    yield from _encoder_faults(model, options, state)


def _encoder_faults(model: SpeechLLM, options: Options, state: dict[str, Tensor]) -> Iterator[str]:
    key = "Qformer.bert.encoder.layer.0.crossattention.self.key.weight"
    sound = len(state[CONVOLUTION]) if CONVOLUTION in state else 0
    fused = state[key].shape[1] if key in state else sound
    encoders = {
        "audio": (f"--audio-encoder-name {options.encoder.audio_encoder_name}", sound),
        "video": (
            f"--pretrain-avhubert-enc-video-path {options.encoder.pretrain_avhubert_enc_video_path}",
            fused - sound,
        ),
    }
    for encoder, (flag, expected) in encoders.items():
        if (found := model.encoders[encoder].dim) != expected:
            yield f"{flag}: width {found}, the file's encoder has {expected}"


@torch.no_grad()
def _same_rows(embedding: Tensor, head: Tensor) -> bool:
    """Whether one holds the other, rounded; either may have rows of further tokens."""
    rows = min(len(embedding), len(head))
    return torch.allclose(embedding[:rows].to(head.dtype).float(), head[:rows].float(), rtol=1e-2, atol=1e-4)
