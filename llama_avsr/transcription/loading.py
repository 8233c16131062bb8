"""From options to a Transcriber."""

from __future__ import annotations

import logging
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from typing import Any

from datamodules import registry
from datamodules.languages import show_direction
from llama_avsr.checkpoints.source import Checkpoint, find_source
from llama_avsr.evaluation.loading import evaluation_options, load_model, search_of
from llama_avsr.model.build import text_of
from llama_avsr.model.devices import check_hardware, device_of, frozen_dtype, precision_of
from llama_avsr.model.speech_llm import SpeechLLM
from llama_avsr.options import FIELDS, MODALITIES, Options, defaults
from llama_avsr.options.views import chosen_views
from llama_avsr.transcription.mouths import FaceSettings
from llama_avsr.transcription.pipeline import Settings, Trained, Transcriber
from llama_avsr.words import file as words_file
from llama_avsr.words.file import WordModel

LOGGER = logging.getLogger(__name__)
PROGRAM = "transcribe"


def load(path: Path | str, **options: Any) -> Transcriber:
    """A model that is ready to transcribe, from a checkpoint folder, a run's folder, a published file or the
    hub (`user/model`, `user/model@revision`).

    options: any of `transcribe.py --help`, with underscores: `num_beams=4, accelerator="cpu"`.
    Raises ValueError for options that are unknown, wrong, or contradict the model.
    """
    for name in options:
        if name not in FIELDS:
            raise ValueError(registry.unknown(f"found option {name!r}", name, sorted(FIELDS)))
    chosen = {"pretrained_model_path": Path(path), **options}
    return load_transcriber(defaults(PROGRAM).updated(chosen), set(chosen))


def load_transcriber(options: Options, explicit: Collection[str]) -> Transcriber:
    """explicit: options that the user set."""
    source = find_source(options.checkpoints.pretrained_model_path)
    asked = None
    may_drop = False
    if source.trained is not None:
        # The checkpoint knows its modality; here the flag says what of it is used.
        asked = options.goal.modality
        options, explicit = options.updated({"modality": None}), set(explicit) - {"modality"}
        may_drop = source.trained.augmentation.modality_dropout > 0
    flags, options = options, evaluation_options(options, explicit, PROGRAM, source)
    views = {view.media: view.view_name for view in reversed(chosen_views(options, flags, explicit))}
    check_hardware(options)
    settings = _settings(options, asked)
    _check(options, settings)
    model = load_model(options, source).requires_grad_(False).eval()
    _check_length(settings, [encoder.max_seconds for encoder in model.encoders.values()])
    words = words_file.read(source.folder) if isinstance(source, Checkpoint) else None
    _check_words(words, model, options.checkpoints.pretrained_model_path)
    dtype = frozen_dtype(options)
    device = device_of(options)
    trained = Trained(
        model=model.to(device),
        name=str(options.checkpoints.pretrained_model_path),
        may_drop=(may_drop and len(model.streams) > 1) or {("audio",), ("video",)} <= views.keys(),
        views={media: model.views[name] for media, name in views.items()},
        encode_text=text_of(options, model.vocabulary),
        device=device,
        autocast=None if precision_of(options) == "32" else dtype,
        max_batch_frames=options.test_max_frames,
        words=None if words is None else replace(words, aligner=words.aligner.to(device)),
    )
    return Transcriber(trained, search_of(options), settings)


def _settings(options: Options, asked: str | None) -> Settings:
    chosen = options.transcribing
    settings = Settings(
        already_cropped=chosen.already_cropped,
        asked=None if asked is None else MODALITIES[asked].media,
        audio_track=chosen.audio_track,
        languages=_languages(options),
        min_pause_seconds=chosen.min_pause_seconds,
        max_segment_seconds=chosen.max_segment_seconds,
        margin_seconds=chosen.segment_margins,
        faces=_faces(options),
        word_times=chosen.word_times,
    )
    _ = settings.cutting  # raises for what cannot be
    return settings


def _faces(options: Options) -> FaceSettings:
    faces = options.faces
    own = options.of("detectors", faces.detector)
    return FaceSettings(faces.speaker, faces.detector, own, faces.detect_every)


def _languages(options: Options) -> tuple[str, str]:
    directions = options.data.directions
    if len(directions) > 1:
        raise ValueError(f"--lang {' '.join(options.data.lang)}: expected one direction, such as en or en-es")
    languages = directions[0] if directions else ("en", "en")
    if languages[0] != languages[1] and not options.translates:
        raise ValueError(
            f"--lang {show_direction(languages)}: this model only transcribes; take one that was trained "
            "with --task translation"
        )
    return languages


def _check(options: Options, settings: Settings) -> None:
    if options.chooses("compressors", "units") and options["units_centroids"] is None:
        raise ValueError(
            "this model merges frames by visual units, which a new video does not bring along: give "
            "--units-centroids, the file of prepare_data.py units fit"
        )


def _check_words(words: WordModel | None, model: SpeechLLM, name: Path | None) -> None:
    widths = {encoder: network.dim for encoder, network in model.encoders.items()}
    if words is not None and not words.aligner.dims.items() <= widths.items():
        raise ValueError(
            f"{name}: its aligner was made for encoders of widths {words.aligner.dims}, found {widths}; make "
            "it again with `llama-avsr align`"
        )


def _check_length(settings: Settings, limits: Collection[float | None]) -> None:
    limit = min((seconds for seconds in limits if seconds is not None), default=None)
    if limit is not None and settings.max_segment_seconds > limit:
        raise ValueError(
            f"--max-segment-seconds {settings.max_segment_seconds:g}: the model's encoder takes at most "
            f"{limit:g} s"
        )
