"""A trained model with the options that it is evaluated with, or transcribes with."""

from __future__ import annotations

from collections.abc import Collection

from datamodules.languages import show_direction
from llama_avsr.checkpoints.source import Source, find_source
from llama_avsr.model.build import build_model
from llama_avsr.model.decoding import BeamSearch
from llama_avsr.model.devices import frozen_dtype
from llama_avsr.model.speech_llm import SpeechLLM
from llama_avsr.options import Options


def evaluation_options(
    options: Options, explicit: Collection[str], program: str = "eval", source: Source | None = None
) -> Options:
    """Options of `eval` or `transcribe` completed by what the model was trained with, and checked.

    source: what --pretrained-model-path means, where that is known already.
    """
    source = source or find_source(options.checkpoints.pretrained_model_path)
    options = source.complete(options, explicit, program)
    translated = [direction for direction in options.data.directions if len(set(direction)) > 1]
    if source.trained is not None and translated and not options.translates:
        raise ValueError(
            f"--lang {show_direction(translated[0])}: this model only transcribes; take one that was trained "
            "with --task translation"
        )
    return options


def load_model(options: Options, source: Source) -> SpeechLLM:
    """The model that completed options name, with the weights of its source."""
    try:
        model = build_model(options, frozen_dtype(options))
    except ValueError as error:
        raise source.explained(error) from None
    source.load(model, options)
    return model


def search_of(options: Options) -> BeamSearch:
    decoding = options.decoding
    return BeamSearch(
        num_beams=decoding.num_beams,
        max_new_tokens=decoding.max_dec_tokens,
        length_penalty=decoding.length_penalty,
        num_best=decoding.nbest,
        clips_at_once=decoding.clips_at_once,
    )
