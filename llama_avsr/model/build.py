"""From options to a model: the only place that hands options to classes."""

from __future__ import annotations

import logging
import sys
from functools import partial
from pathlib import Path
from typing import Any

import torch
from huggingface_hub.errors import HFValidationError
from torch import nn
from transformers import AutoConfig
from transformers.utils.logging import disable_progress_bar

from datamodules import registry
from llama_avsr.model import probe
from llama_avsr.model.builtin import located
from llama_avsr.model.devices import device_of
from llama_avsr.model.freezing import added_names, trained_names, unfreeze
from llama_avsr.model.llm import Vocabulary, add_token_rows, load_llm, load_vocabulary
from llama_avsr.model.lora import Lora, add_lora
from llama_avsr.model.projector import make_projector
from llama_avsr.model.speech_llm import SpeechLLM
from llama_avsr.options import Options
from llama_avsr.tasks import Stream, Task

LOGGER = logging.getLogger(__name__)
ENCODERS = "llama_avsr.encoders"
TASKS = "llama_avsr.tasks"


def build_model(options: Options, dtype: torch.dtype = torch.float32) -> SpeechLLM:
    """Load the pretrained parts and put them together. dtype: of frozen weights; trained ones are float32.

    Raises ValueError naming the flag for a part that cannot be loaded.
    """
    if not sys.stderr.isatty():
        disable_progress_bar()
    torch.manual_seed(options.hardware.seed)
    streams = streams_of(options)
    # Weights that are trained must not be rounded on the way.
    trained = " ".join(options.trained_modules)
    encoder_dtype = torch.float32 if "encoder" in trained else dtype
    task = task_of(options)
    vocabulary = _named("--llm-model", options.llm.llm_model, partial(load_vocabulary, tokens=task.tokens))
    encoders = {
        name: build_encoder(name, options, encoder_dtype) for name in {s.encoder: None for s in streams}
    }
    llm = build_llm(options, vocabulary, torch.float32 if "llm" in options.trained_modules else dtype)
    reading = probe.examine(llm, vocabulary, options.llm.llm_model)
    compressors = {stream.name: build_compressor(stream, options) for stream in streams}
    model = SpeechLLM(
        llm=llm,
        vocabulary=vocabulary,
        streams=streams,
        encoders=encoders,
        compressors=compressors,
        projectors={
            s.name: make_projector(
                compressors[s.name].out_dim(encoders[s.encoder].dim),
                options.projector.intermediate_size if options.projector.projector_type == "mlp" else None,
                llm.get_input_embeddings().weight.shape[1],
                options.projector.layernorm_projector,
            )
            for s in streams
        },
        sink_loss_factor=options.training.sink_loss_factor if options.training.add_sink_loss else 0.0,
        stream_dropout=options.augmentation.modality_dropout,
        loss_reduction=options.training.loss_reduction,
        label_smoothing=options.training.label_smoothing,
        # VSP-LLM pads with it, and so never learnt it.
        ignored_target=vocabulary.unknown if task.prompt is None else None,
        reading=reading,
    )
    if options.llm.pretrained_rounding == "bfloat16":
        _round(llm, torch.bfloat16)
        _round(model.encoders, torch.bfloat16)
    model.requires_grad_(False)
    unfreeze(model, ["projector", *options.trained_modules])
    model.changed |= trained_names(model) | added_names(model)
    return model


def task_of(options: Options) -> Task:
    """The task that is asked for; left open, the one that transcribes the options' modality."""
    if options.goal.task is not None:
        return registry.load(TASKS, options.goal.task).TASK
    tasks = [registry.load(TASKS, name).TASK for name in registry.names(TASKS)]
    return next(task for task in tasks if task.prompt is not None and options.goal.modality in task.streams)


def streams_of(options: Options) -> tuple[Stream, ...]:
    """The streams of the options' modality."""
    task, modality = task_of(options), options.goal.modality
    single = f"{modality}_single"
    if options.projector.single_projector_avhubert and single in task.streams:
        return task.streams[single]
    return task.streams[modality]


def build_compressor(stream: Stream, options: Options) -> nn.Module:
    """Raises ValueError for centroids that cannot be read or are of another layer."""
    compression = options.compression
    return registry.load("llama_avsr.compressors", compression.compression_mode).make(
        ratio=options[f"downsample_ratio_{stream.name}"],
        centroids=compression.units_centroids,
        layer=compression.units_layer,
    )


def build_encoder(role: str, options: Options, dtype: torch.dtype) -> nn.Module:
    """The encoder of "audio", "video" or "audiovisual". Raises ValueError for one that cannot be loaded."""
    flag, name = _encoder_source(role, options)
    model_type = "av_hubert" if flag.startswith("--pretrain-avhubert") else _model_type(flag, name)
    modules = [registry.load(ENCODERS, encoder) for encoder in registry.names(ENCODERS)]
    fitting = [module for module in modules if model_type in module.MODEL_TYPES]
    if not fitting:
        known = ", ".join(kind for module in modules for kind in module.MODEL_TYPES)
        raise ValueError(
            f"{flag} {name}: no encoder reads a model of type {model_type}; known types: {known}"
        )
    load = partial(
        fitting[0].load,
        dtype=dtype,
        lora=options.encoder.use_lora_avhubert,
        regularisation=options.encoder.regularisation,
        whisper_padding=options.encoder.whisper_padding,
        whisper_length_rounding=options.encoder.whisper_length_rounding,
    )
    return _named(flag, name, load)


def _encoder_source(role: str, options: Options) -> tuple[str, str]:
    """The flag that names the encoder, and its value."""
    if role == "audio" and not options.encoder.audio_is_avhubert:
        return "--audio-encoder-name", options.encoder.audio_encoder_name
    return (
        f"--pretrain-avhubert-enc-{role}-path",
        str(options[f"pretrain_avhubert_enc_{role}_path"]),
    )


def _model_type(flag: str, name: str) -> str:
    return _named(flag, name, AutoConfig.from_pretrained).model_type


def build_llm(options: Options, vocabulary: Vocabulary, dtype: torch.dtype) -> nn.Module:
    """The options' LLM with the rows of the added tokens and, where asked for, adapters."""
    attention = options.hardware.attn_implementation
    llm = _named(
        "--llm-model",
        options.llm.llm_model,
        lambda name: load_llm(
            name,
            dtype,
            None if attention == "auto" else attention,
            options.llm.quantization,
            device_of(options),
        ),
    )
    add_token_rows(llm, vocabulary)
    if options.lora.add_PETF_LLM is not None:
        rank = options.lora.rank(llm.get_input_embeddings().weight.shape[1])
        add_lora(
            llm,
            Lora(
                rank=rank,
                alpha=rank * options.lora.scale,
                dropout=options.lora.lora_dropout,
                targets=options.lora.lora_targets,
            ),
        )
    if options.hardware.gradient_checkpointing:
        llm.activation_checkpointing_enable({"use_reentrant": False})
        llm.enable_input_require_grads()
    return llm


def _round(module: nn.Module, dtype: torch.dtype) -> None:
    for tensor in module.state_dict().values():
        if tensor.is_floating_point():
            tensor.copy_(tensor.to(dtype))


def _named(flag: str, name: str, load: Any) -> Any:
    """`load(name)`, with errors of missing or broken files told as what they are: a wrong flag."""
    try:
        return load(located(name))
    except (OSError, HFValidationError) as error:
        looks_local = Path(name).is_absolute() or name.startswith(".") or Path(name).exists()
        what = "no model can be read from this folder" if Path(name).is_dir() else "found no such folder"
        where = what if looks_local else f"{what}, and the hub did not give it"
        first = str(error).strip().split("\n")[0]
        raise ValueError(
            f"{flag} {name}: {where}; expected a model folder or a hub name ({first})"
        ) from error
