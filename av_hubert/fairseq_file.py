"""What a fairseq checkpoint says about an AV-HuBERT: its tensors under our names, and its configuration.

Shapes are believed first, the configuration second, the original's defaults third.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from torch import Tensor

from av_hubert.config import AVHubertConfig
from av_hubert.safe_pickle import plain
from av_hubert.torch_file import TorchFile

FINE_TUNED_PREFIX = "encoder.w2v_model."
PRETRAINING_ONLY = re.compile(r"mask_emb|label_embs_concat|final_proj\..*")
VSP_LLM_PROJECTOR = "avfeat_to_llm.weight"
VSP_LLM_ONLY = re.compile(r"decoder\..*|avfeat_to_llm\..*")
"""What VSP-LLM's releases hold behind the network."""
VIDEO = "feature_extractor_video.resnet."
DEFAULT_NUM_HEADS = 12
HEAD_DIM = 64
SHAPED = {
    "audio projection": "feature_extractor_audio.proj.weight",
    "stem": f"{VIDEO}frontend3D.0.weight",
    "positional convolution": "encoder.pos_conv.0.weight_v",
    "feed-forward block": "encoder.layers.0.fc1.weight",
    **{f"ResNet stage {n}": f"{VIDEO}trunk.layer{n}.0.conv1.weight" for n in range(1, 5)},
}


def read(path: str | Path) -> tuple[dict[str, Tensor], AVHubertConfig]:
    """Read a fairseq `.pt` of any layout. Returns the network's state dict and configuration.

    Tensors that only pretraining needs are left in the file, as are VSP-LLM's adapters and optimiser states.
    Raises UnsafePickleError for a pickle that could run code, ValueError for any other unfit file.
    """
    with TorchFile(path) as file:
        refs = {_our_name(name): ref for name, ref in _model_refs(file).items()}
        dropped = [PRETRAINING_ONLY] + [VSP_LLM_ONLY] * (VSP_LLM_PROJECTOR in refs)
        state = file.read(
            (name, ref) for name, ref in refs.items() if not any(part.fullmatch(name) for part in dropped)
        )
        # VSP-LLM's files tell of VSP-LLM alone; they were trained from a published model.
        settings = None if VSP_LLM_PROJECTOR in refs else model_settings(file.content)
    return state, config_of(state, settings, str(path))


def read_tensors(path: str | Path) -> dict[str, Tensor]:
    """All tensors of a fairseq checkpoint's `model`, by their own names. Raises as `read`."""
    with TorchFile(path) as file:
        return file.read(_model_refs(file).items())


def _model_refs(file: TorchFile) -> dict[str, Any]:
    content = file.content
    if not isinstance(content, dict) or not isinstance(content.get("model"), dict):
        found = f"the keys {sorted(map(str, content))[:8]}" if isinstance(content, dict) else "no dict"
        raise ValueError(f"{file.path}: found {found}, expected a fairseq checkpoint with 'model' and 'cfg'")
    return {str(name): ref for name, ref in content["model"].items()}


def model_settings(content: dict[str, Any]) -> dict[str, Any] | None:
    """The `model` part of a checkpoint's `cfg`, or its older flat `args`; None where it has neither.

    A fine-tuned file keeps the encoder's settings one level down, in `w2v_args`.
    """
    for source in (plain(content.get("cfg")), plain(content.get("args"))):
        if not isinstance(source, dict) or not source:
            continue
        settings = _model_part(source)
        if isinstance(settings.get("w2v_args"), dict):
            settings = _model_part(settings["w2v_args"])
        return settings
    return None


def config_of(state: dict[str, Tensor], settings: dict[str, Any] | None, source: str) -> AVHubertConfig:
    """Work out the configuration of a state dict. `source` names the file in errors."""
    for part, name in SHAPED.items():
        if name not in state:
            raise ValueError(
                f"{source}: no {part} ({name}) among {len(state)} tensors; expected an AV-HuBERT's weights"
            )
    activation = (settings or {}).get("activation_fn", "gelu")
    if activation != "gelu":
        raise ValueError(f"{source}: found activation_fn {activation!r}, expected 'gelu', the only one here")
    lora = state.get("encoder.layers.0.self_attn.lora_down_Q.weight")
    try:
        dim, group_dim, conv_pos = state[SHAPED["positional convolution"]].shape
        return AVHubertConfig(
            num_layers=_num_layers(state),
            dim=dim,
            ffn_dim=len(state[SHAPED["feed-forward block"]]),
            conv_pos=conv_pos,
            conv_pos_groups=dim // group_dim,
            audio_dim=state[SHAPED["audio projection"]].shape[1],
            resnet_planes=tuple(len(state[SHAPED[f"ResNet stage {n}"]]) for n in range(1, 5)),
            resnet_activation="prelu" if f"{VIDEO}frontend3D.2.weight" in state else "relu",
            fusion="concat" if "post_extract_proj.weight" in state else "add",
            lora_rank=0 if lora is None else len(lora),
            **_from_settings(settings, dim),
        )
    except (ValueError, TypeError, IndexError) as error:
        raise ValueError(f"{source}: its configuration does not fit its tensors: {error}") from error


def _our_name(name: str) -> str:
    return name.removeprefix(FINE_TUNED_PREFIX)


def _model_part(source: dict[str, Any]) -> dict[str, Any]:
    return source["model"] if isinstance(source.get("model"), dict) else source


def _num_layers(state: dict[str, Tensor]) -> int:
    numbers = (re.match(r"encoder\.layers\.(\d+)\.", name) for name in state)
    return 1 + max(int(number[1]) for number in numbers if number)


def _from_settings(settings: dict[str, Any] | None, dim: int) -> dict[str, Any]:
    """What no shape tells."""
    if settings is None:
        # Without any configuration, be one of the published models: pre-norm, heads of 64.
        return {"num_heads": dim // HEAD_DIM, "layer_norm_first": True}
    return {
        "num_heads": int(settings.get("encoder_attention_heads", DEFAULT_NUM_HEADS)),
        "layer_norm_first": bool(settings.get("layer_norm_first", False)),
        "input_dropout": float(settings.get("dropout_input", 0.0)),
        "dropout": float(settings.get("dropout", 0.1)),
        "attention_dropout": float(settings.get("attention_dropout", 0.1)),
        "activation_dropout": float(settings.get("activation_dropout", 0.0)),
        "layer_drop": float(settings.get("encoder_layerdrop", 0.0)),
    }
