"""VSP-LLM's releases: fairseq files with AV-HuBERT, the projector and LoRA; the base LLM is not inside."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from typing import Any

from torch import Tensor

from llama_avsr.model.speech_llm import SpeechLLM
from llama_avsr.options import Options, merge_with_checkpoint

NAME = "VSP-LLM (tensors encoder.w2v_model.*, avfeat_to_llm.*, decoder.*lora_*)"
PROJECTOR = "avfeat_to_llm.weight"
RENAMED = {
    "encoder.w2v_model.": "encoders.video.encoder.",
    "avfeat_to_llm.": "projectors.video.0.",
    "decoder.base_model.model.": "llm.",
}
IGNORED = re.compile(r"encoder\.w2v_model\.(mask_emb|label_embs_concat|final_proj\..*)")
LORA = re.compile(r"decoder\..*\.(\w+)\.lora_A\.default\.weight")
DECODING = {"num_beams": 20, "max_dec_tokens": 30, "length_penalty": 0.0}
"""What they were evaluated with."""


def is_one(state: Collection[str]) -> bool:
    return PROJECTOR in state and any(LORA.fullmatch(key) for key in state)


def complete(
    options: Options, explicit: Collection[str], state: dict[str, Tensor], program: str = "eval"
) -> Options:
    """Options as the file implies them; only the LLM must be given. The file serves as AV-HuBERT as well.

    Raises ValueError for a flag that contradicts the file.
    """
    implied = _implied(state)
    path = options.checkpoints.pretrained_model_path
    added: dict[str, Any] = {"pretrain_avhubert_enc_video_path": path, **DECODING}
    options = options.updated({name: value for name, value in added.items() if name not in explicit})
    return merge_with_checkpoint(options, explicit, implied, implied.keys(), program)


def _implied(state: dict[str, Tensor]) -> dict[str, Any]:
    adapted = {match[1]: len(value) for key, value in state.items() if (match := LORA.fullmatch(key))}
    return {
        "task": "translation",
        "modality": "video",
        "compression_mode": "units",
        "projector_type": "linear",
        "add_PETF_LLM": "lora",
        "lora_rank": max(adapted.values()),
        "lora_targets": sorted(adapted),
    }


def translate(state: dict[str, Tensor], model: SpeechLLM) -> dict[str, Tensor]:
    """The tensors by the model's names."""
    return {_our_name(key): value for key, value in state.items() if not IGNORED.fullmatch(key)}


def may_lack(model: SpeechLLM) -> set[str]:
    """Names that a file may do without: all of the base LLM's."""
    return {key for key in model.state_dict(keep_vars=True) if key.startswith("llm.") and "lora_" not in key}


def contradictions(model: SpeechLLM, options: Options, state: dict[str, Tensor]) -> Iterator[str]:
    """What the LLM and the encoder say against what the tensors' shapes say."""
    width, dim = state[PROJECTOR].shape
    llm, encoder = model.llm, model.encoders["video"]
    if (found := llm.get_input_embeddings().weight.shape[1]) != width:
        yield f"--llm-model {options.llm.llm_model}: width {found}, the file was trained with {width}"
    layers = {int(key.split(".layers.")[1].split(".")[0]) for key in state if LORA.fullmatch(key)}
    if (found := llm.config.num_hidden_layers) != len(layers):
        yield f"--llm-model {options.llm.llm_model}: {found} layers, the file adapts {len(layers)}"
    if encoder.dim != dim:
        path = options.encoder.pretrain_avhubert_enc_video_path
        yield f"--pretrain-avhubert-enc-video-path {path}: width {encoder.dim}, the file's encoder has {dim}"


def _our_name(key: str) -> str:
    for theirs, ours in RENAMED.items():
        if key.startswith(theirs):
            return ours + key.removeprefix(theirs)
    return key
