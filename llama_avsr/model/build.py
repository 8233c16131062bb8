"""From options to a model: the only place that hands options to classes."""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from huggingface_hub.errors import HFValidationError
from torch import Tensor, nn
from transformers import AutoConfig, PreTrainedModel
from transformers.utils.logging import disable_progress_bar

from datamodules import registry
from llama_avsr.model import probe
from llama_avsr.model.builtin import located
from llama_avsr.model.devices import loading_device, precision_of
from llama_avsr.model.feature_cache import FeatureCache
from llama_avsr.model.freezing import train_new, trained_names, unfreeze
from llama_avsr.model.fusion import Fusion
from llama_avsr.model.llm import Vocabulary, add_token_rows, load_llm, load_vocabulary
from llama_avsr.model.lora import SHARED, Lora, add_lora, recomputed
from llama_avsr.model.probe import Abilities
from llama_avsr.model.projector import make_projector
from llama_avsr.model.speech_llm import SpeechLLM
from llama_avsr.model.text import SpeechText, SpeechTexts
from llama_avsr.model.views import View
from llama_avsr.options import FIELDS, Options
from llama_avsr.options.plugins import package_of
from llama_avsr.provenance import new_names
from llama_avsr.tasks import EncoderSlot, Stream

LOGGER = logging.getLogger(__name__)


def build_model(options: Options, dtype: torch.dtype = torch.float32) -> SpeechLLM:
    """Load the pretrained parts and put them together. dtype: of frozen weights; trained ones are float32.

    Raises ValueError naming the flag for a part that cannot be loaded.
    """
    if not sys.stderr.isatty():
        disable_progress_bar()
    torch.manual_seed(options.hardware.seed)
    # Weights that are trained must not be rounded on the way.
    trained = " ".join(options.trained_modules)
    encoder_dtype = torch.float32 if "encoder" in trained else dtype
    vocabulary = _named("--llm-model", options.llm.llm_model, partial(load_vocabulary, tokens=options.tokens))
    encoders = {slot.name: build_encoder(slot, options, encoder_dtype) for slot in options.slots}
    llm = build_llm(options, vocabulary, torch.float32 if "llm" in options.trained_modules else dtype)
    abilities = probe.examine(llm, vocabulary, options.llm.llm_model)
    return assemble(options, llm, vocabulary, encoders, abilities)


def assemble(
    options: Options,
    llm: PreTrainedModel,
    vocabulary: Vocabulary,
    encoders: Mapping[str, nn.Module],
    abilities: Abilities | None = None,
) -> SpeechLLM:
    """Put loaded parts together, with new compressors and projectors; what is trained is set free.

    encoders: by the names of their slots.
    """
    abilities = abilities or Abilities()
    views = views_of(options, vocabulary)
    # Tasks share the compressor and projector of a stream at a rate.
    parts = {
        part: (stream, own, sum(encoders[source.encoder].dim for source in stream.sources))
        for view, own in zip(views, options.views, strict=True)
        for stream, part in zip(view.streams, view.parts, strict=True)
    }
    compressors = {part: build_compressor(stream, width, own) for part, (stream, own, width) in parts.items()}
    model = SpeechLLM(
        llm=llm,
        vocabulary=vocabulary,
        views=views,
        encoders=encoders,
        compressors=compressors,
        projectors={
            part: make_projector(
                compressors[part].out_dim(width),
                options.projector.hidden_size,
                llm.get_input_embeddings().weight.shape[1],
                options.projector.layernorm_projector,
                activation=options.projector.projector_type == "mlp",
            )
            for part, (_, _, width) in parts.items()
        },
        fusions={
            stream.name: Fusion.of([encoders[source.encoder] for source in stream.fuses])
            for stream in options.streams
            if stream.fuses
        },
        sink_loss_factor=options.training.sink_loss_factor if options.training.add_sink_loss else 0.0,
        ctc_weight=options.training.ctc_weight,
        stream_dropout=options.augmentation.modality_dropout,
        lips_mismatch=options.augmentation.lips_mismatch,
        loss_reduction=options.training.loss_reduction,
        label_smoothing=options.training.label_smoothing,
        reading=abilities.reading,
        packs=abilities.packs,
        feature_cache=_feature_cache(options),
    )
    round_llm(llm, options)
    _round(model.encoders.state_dict(), options.llm.pretrained_rounding)
    model.requires_grad_(False)
    new = new_names(model)
    train_new(model, new)
    unfreeze(model, options.trained_modules)
    model.changed |= trained_names(model) | new
    return model


def _feature_cache(options: Options) -> FeatureCache | None:
    if options.data.feature_cache is None:
        return None
    settings = {name: str(value) for name, value in options.by_name("encoders").items()}
    return FeatureCache(options.data.feature_cache, f"{precision_of(options)} {settings}")


def text_of(options: Options, vocabulary: Vocabulary) -> SpeechText | SpeechTexts:
    """What stands around the speech: the options' tasks say."""
    texts = {task: SpeechText(vocabulary, layout) for task, layout in options.layouts.items()}
    return SpeechTexts(texts) if len(texts) > 1 else texts[options.task_name]


def views_of(options: Options, vocabulary: Vocabulary) -> tuple[View, ...]:
    """What a model of these options can be used for."""
    elastic = {stream.name for stream in options.streams if len(options.rates(stream)) > 1}
    return tuple(
        View(
            name=own.view_name,
            task=own.task_name,
            streams=own.streams,
            parts=tuple(f"{s.name}_{own[s.ratio]}" if s.name in elastic else s.name for s in own.streams),
            rates={stream.name: rate for stream in own.streams for rate in own.rates(stream)},
            adapters=adapters_of(options, own.task_name),
            ignored_target=None if own.task.learns_unknown else vocabulary.unknown,
        )
        for own in options.views
    )


def adapters_of(options: Options, task: str) -> tuple[str, ...]:
    """The LLM's adapters for a task."""
    if options.lora.add_PETF_LLM is None:
        return ()
    sharing = options.lora.lora_sharing if options.goal.tasks else "shared"
    return {"shared": (SHARED,), "task": (task,), "both": (task, SHARED)}[sharing]


def build_compressor(stream: Stream, dim: int, options: Options) -> nn.Module:
    """options: of one view. dim: width of the encoder's frames. Raises ValueError for options that make
    none."""
    mode = options.compression.compression_mode
    module = registry.load(package_of("compressors"), mode)
    return module.make(dim, options[stream.ratio], **options.of("compressors", mode))


def build_encoder(slot: EncoderSlot, options: Options, dtype: torch.dtype) -> nn.Module:
    """The encoder of a slot. Raises ValueError for one that cannot be loaded."""
    choice = options.encoder_of(slot)
    flag = FIELDS[choice.option].flag
    package = package_of("encoders")
    plug_in = choice.plug_in or _reader_of(flag, choice.name)
    module = registry.load(package, plug_in)
    if lacking := set(_media_of(slot, options)) - set(module.MEDIA):
        raise ValueError(
            f"{flag} {choice.name or plug_in}: {plug_in} encodes {', '.join(module.MEDIA)}, "
            f"--modality {options.modality} needs {', '.join(sorted(lacking))}"
        )
    load = partial(module.load, dtype=dtype, **options.of("encoders", plug_in))
    if choice.name:
        return _named(flag, choice.name, load)
    try:
        return load("")
    except (OSError, HFValidationError) as error:
        raise ValueError(
            f"{flag} {plug_in}: no weights are named; expected {plug_in}:[folder or hub name]"
        ) from error


def _media_of(slot: EncoderSlot, options: Options) -> list[str]:
    sources = [source for stream in options.streams for source in stream.sources]
    return [medium for source in sources if source.slot == slot for medium in source.media]


def _reader_of(flag: str, name: str) -> str:
    """The plug-in that reads a Hugging Face model. Raises ValueError where there is none."""
    package = package_of("encoders")
    model_type = _named(flag, name, AutoConfig.from_pretrained).model_type
    types = {plug_in: registry.load(package, plug_in).MODEL_TYPES for plug_in in registry.names(package)}
    for plug_in, known in types.items():
        if model_type in known:
            return plug_in
    listed = ", ".join(kind for known in types.values() for kind in known)
    raise ValueError(
        f"{flag} {name}: no encoder reads a model of type {model_type}; known types: {listed}; an encoder "
        f"without a Hugging Face config goes by its own name: {', '.join(types)}"
    )


def build_llm(options: Options, vocabulary: Vocabulary, dtype: torch.dtype) -> PreTrainedModel:
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
            loading_device(options),
        ),
    )
    return prepare_llm(options, llm, vocabulary)


def prepare_llm(options: Options, llm: PreTrainedModel, vocabulary: Vocabulary) -> PreTrainedModel:
    """Give a loaded LLM the rows of the added tokens, adapters and gradient checkpointing, in place."""
    add_token_rows(llm, vocabulary)
    adapters = dict.fromkeys(name for task in options.task_names for name in adapters_of(options, task))
    if adapters:
        rank = options.lora.rank(llm.get_input_embeddings().weight.shape[1])
        add_lora(
            llm,
            Lora(
                rank=rank,
                alpha=rank * options.lora.scale,
                dropout=options.lora.lora_dropout,
                targets=options.lora.lora_targets,
            ),
            tuple(adapters),
        )
    if options.hardware.gradient_checkpointing:
        contexts = {"context_fn": partial(recomputed, llm)} if len(adapters) > 1 else {}
        llm.activation_checkpointing_enable({"use_reentrant": False, **contexts})
        llm.enable_input_require_grads()
    return llm


def round_llm(llm: nn.Module, options: Options) -> None:
    """Round an LLM in place, where the options ask for it: its weights; its rotary frequencies, which are in
    no file."""
    stored = llm.state_dict()
    _round(stored, options.llm.pretrained_rounding)
    computed = {name: buffer for name, buffer in llm.named_buffers() if name not in stored}
    _round(computed, options.llm.rotary_rounding)


def _round(tensors: Mapping[str, Tensor], rounding: str) -> None:
    if rounding != "none":
        for tensor in tensors.values():
            if tensor.is_floating_point():
                tensor.copy_(tensor.to(getattr(torch, rounding)))


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
