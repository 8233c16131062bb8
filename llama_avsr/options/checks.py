"""Whether options fit each other: problems (errors), what is missing, what has no effect (notes)."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator
from typing import Any

from llama_avsr.options.fields import Field
from llama_avsr.options.groups import FIELDS, Options
from llama_avsr.options.schema import Schema

DOING = {"train": "training", "eval": "evaluation", "transcribe": "transcription"}


def check(options: Options, program: str) -> None:
    """Raise ValueError, a line for each fault, where options contradict each other or some are missing."""
    faults = [*problems(options, program), *missing(options, program)]
    if faults:
        raise ValueError("\n".join(faults))


def problems(options: Options, program: str) -> list[str]:
    """Contradictions between options that are set."""
    faults = [
        *_task_problems(options),
        *_lora_problems(options),
        *_quantisation_problems(options),
        *_sharding_problems(options),
        *_running_problems(options),
    ]
    if program == "train":
        faults += [*_unfreezing_problems(options), *_training_problems(options)]
    return faults


def missing(options: Options, program: str) -> list[str]:
    """Flags without which the program cannot do its work."""
    needed = [f for f in FIELDS.values() if {program, "train"} & set(f.scope.needed_by)]
    needed = [f for f in needed if f.scope.counts_in(program)]
    encoders = _missing_encoders(options) if options.goal.modality and not _unusable(options) else ()
    return [*_missing(options, needed), *encoders]


def missing_at_start(options: Options, program: str) -> list[str]:
    """The same, before a checkpoint has been read that may bring the rest."""
    if program == "train":
        return missing(options, program)
    videos = _videos_or_page(options) if program == "transcribe" else ()
    return [*videos, *_missing(options, [f for f in FIELDS.values() if program in f.scope.needed_by])]


def missing_values(schema: Schema, options: object, program: str) -> list[str]:
    """Options of any program that it needs and that have no value."""
    needed = [f for f in schema.fields.values() if f.scope.is_needed_by(program)]
    return [_is_missing(f) for f in needed if schema.get(options, f.name) in (None, ())]


def without_effect(schema: Schema, options: object, explicit: Collection[str]) -> list[str]:
    """A note on options of any program that were set and that others make idle."""
    conditions = {name: schema.fields[name].scope.when for name in explicit}
    idle = [name for name, when in conditions.items() if when is not None and not _holds(when, options)]
    return [f"no effect here: {', '.join(schema.fields[name].flag for name in idle)}"] if idle else []


def _holds(condition: Callable[[Any], bool], options: object) -> bool:
    try:
        return condition(options)
    except ValueError:  # what it depends on (the modality) is still to be read from a file
        return True


def unused(options: Options, explicit: Collection[str], program: str) -> list[str]:
    """Notes on flags that were set and have no effect."""
    known = options.goal.modality is not None and not _unusable(options)
    notes = list(_unused_by_modality(options, explicit)) if known else []
    idle = [name for name in explicit if is_idle(name, program)]
    if program == "transcribe":
        idle += [name for name in explicit if not is_idle(name, program) and _is_unserved(name, options)]
    if idle:
        notes.append(f"no effect in {DOING[program]}: {_flags(idle)}")
    if program == "train" and known and "audio" in options.media and not options.augmentation.noise_file:
        notes.append("no --noise-file: the model is trained on clean speech")
    return notes


def is_idle(name: str, program: str) -> bool:
    """Whether an option changes nothing in a program."""
    return not FIELDS[name].scope.counts_in(program)


def idle_with(options: Options) -> set[str]:
    """Options that change nothing with the chosen modality, encoders and the like."""
    return {name for name, f in FIELDS.items() if f.scope.when is not None and not f.scope.when(options)}


def _is_unserved(name: str, options: Options) -> bool:
    """Whether transcription reads an option with --serve or --serve-api alone, and that was not given."""
    page, api = options.serving.serve, options.api.serve_api
    if name in ("host", "port"):
        return not (page or api)
    return (not page and (name == "noise_file" or FIELDS[name].group == "serving")) or (
        not api and FIELDS[name].group == "api"
    )


def _unusable(options: Options) -> bool:
    """Whether the task does not take the modality, so that nothing more can be said."""
    try:
        options.streams  # noqa: B018
    except ValueError:
        return True
    return False


def _task_problems(options: Options) -> Iterator[str]:
    if options.goal.modality is None:
        return
    try:
        options.streams  # noqa: B018
    except ValueError as error:
        yield str(error)
        return
    try:
        options.layouts  # noqa: B018
    except ValueError as error:
        text = str(error).partition(":")[0].strip("'\"")
        of_tasks = [item for task in options.task_names for item in options.of("tasks", task).items()]
        flag = next((FIELDS[name].flag for name, value in of_tasks if value == text), "--task")
        yield f"{flag} {error}"
    yield from _view_problems(options)
    units = options.compression.compression_mode == "units"
    if units and options.has_slot("audio") and not options.audio_is_avhubert:
        yield (
            "--compression-mode units merges AV-HuBERT's frames: use --modality video, or "
            "--audio-encoder-name av-hubert"
        )


def _view_problems(options: Options) -> Iterator[str]:
    goal, weights = options.goal, options.training.task_weights
    if goal.task and goal.tasks:
        yield f"--task {goal.task} is one task and --tasks {' '.join(goal.tasks)} are several: keep one"
    lists = {"tasks": goal.tasks} | {s.ratios: options[s.ratios] for s in options.streams if s.ratios}
    for name, values in lists.items():
        if len(set(values)) < len(values):
            yield f"{FIELDS[name].flag} {' '.join(map(str, values))}: expected each once"
    if goal.tasks and len(weights) not in (0, len(goal.tasks)):
        yield (
            f"--task-weights {' '.join(f'{weight:g}' for weight in weights)}: expected {len(goal.tasks)}, "
            f"one for each of --tasks {' '.join(goal.tasks)}"
        )
    if goal.tasks and options.lora.lora_sharing != "shared" and options.lora.add_PETF_LLM is None:
        yield f"--lora-sharing {options.lora.lora_sharing} needs --add_PETF_LLM lora"


def _lora_problems(options: Options) -> Iterator[str]:
    lora = options.lora
    sizes = {"--reduction_lora": lora.reduction_lora, "--lora-rank": lora.lora_rank}
    given = [flag for flag, size in sizes.items() if size is not None]
    if len(given) == 2:
        yield "--reduction_lora and --lora-rank both give the adapters' size: keep one"
    if lora.alpha is not None and not given:
        yield f"--alpha {lora.alpha:g} needs --reduction_lora or --lora-rank"
    if given and lora.add_PETF_LLM is None:
        yield f"{given[0]} needs --add_PETF_LLM lora"
    if lora.add_PETF_LLM is not None and not given:
        yield f"--add_PETF_LLM {lora.add_PETF_LLM} needs --reduction_lora and --alpha, or --lora-rank"
    if lora.reduction_lora is not None and lora.alpha is None:
        yield f"--reduction_lora {lora.reduction_lora} needs --alpha (scale = alpha / reduction_lora)"


def _quantisation_problems(options: Options) -> Iterator[str]:
    llm, trained = options.llm, options.training.unfrozen_modules or ()
    if llm.quantization == "none":
        return
    chosen = f"--quantization {llm.quantization}"
    if "llm" in trained:
        yield f"--unfrozen_modules llm would train weights that {chosen} rounds: keep one, or train peft_llm"
    if llm.pretrained_rounding != "none":
        yield f"--pretrained-rounding {llm.pretrained_rounding} and {chosen} both round the LLM: keep one"


def _sharding_problems(options: Options) -> Iterator[str]:
    if options.hardware.strategy != "fsdp2":
        return
    if options.llm.quantization != "none":
        yield f"--strategy fsdp2 shares out no weights of --quantization {options.llm.quantization}: keep one"
    if "llm" in (options.training.unfrozen_modules or ()):
        yield "--strategy fsdp2 shares out frozen weights, and --unfrozen_modules llm leaves none: keep one"


def _unfreezing_problems(options: Options) -> Iterator[str]:
    needs = {
        "peft_llm": (options.lora.add_PETF_LLM is not None, "--add_PETF_LLM lora"),
        "lora_avhubert": (options["use_lora_avhubert"], "--use-lora-avhubert"),
    }
    for name in options.training.unfrozen_modules or ():
        there, flag = needs.get(name, (True, ""))
        if not there:
            yield f"--unfrozen_modules {name} needs {flag}: there is nothing of that name to train"


def _training_problems(options: Options) -> Iterator[str]:
    training, checkpoints = options.training, options.checkpoints
    if checkpoints.num_average_epochs > checkpoints.num_check_save:
        yield (
            f"--num-average-epochs {checkpoints.num_average_epochs} needs --num-check-save of at least "
            f"{checkpoints.num_average_epochs}, found {checkpoints.num_check_save}"
        )
    if training.warmup_steps is not None and training.warmup_epochs:
        yield (
            "--warmup-steps and --warmup-epochs both give the warm-up's length: keep one (--warmup-epochs 0 "
            "drops a config's)"
        )
    if training.warmup_epochs >= training.max_epochs:
        yield (
            f"--warmup-epochs {training.warmup_epochs:g} leaves nothing of --max-epochs "
            f"{training.max_epochs}: expected fewer"
        )
    left = training.max_epochs - training.ctc_epochs
    if training.ctc_weight and training.ctc_epochs and left < checkpoints.num_average_epochs:
        yield (
            f"--ctc-epochs {training.ctc_epochs} leaves the LLM {max(0, left)} of --max-epochs "
            f"{training.max_epochs}: expected as many as are averaged (--num-average-epochs "
            f"{checkpoints.num_average_epochs}), or more"
        )
    if checkpoints.ckpt_path and checkpoints.pretrained_model_path:
        yield "--ckpt-path resumes a training, --pretrained-model-path starts one from a model: keep one"


def _running_problems(options: Options) -> Iterator[str]:
    augmentation, decoding, run = options.augmentation, options.decoding, options.run
    hears = options.goal.modality is None or "audio" in options.media
    noisy = [snr_db for snr_db in augmentation.decode_snrs_db if snr_db is not None]
    is_silent = not augmentation.noise_file and not (augmentation.test_noise or augmentation.noise_grid)
    if noisy and is_silent and hears:
        yield f"--decode-snr-target {noisy[0]:g} needs --noise-file, a wav of the noise, or --test-noise"
    if augmentation.test_noise and not noisy and not augmentation.noise_grid and hears:
        yield f"--test-noise {augmentation.test_noise[0]} needs --decode-snr-target, the SNRs to test at"
    if decoding.nbest > decoding.num_beams:
        yield f"--nbest {decoding.nbest} needs at least as many --num-beams, found {decoding.num_beams}"
    if "none" in run.logger and len(run.logger) > 1:
        yield f"--logger {' '.join(run.logger)}: none is nothing beside others: keep one"
    if "wandb" in run.logger and not run.project_wandb:
        yield "--logger wandb needs --project-wandb, the name of a W&B project"
    if options.hardware.accelerator == "cpu" and options.hardware.precision == "16":
        yield "--precision 16 needs a GPU: use bf16 or 32 with --accelerator cpu"


def _videos_or_page(options: Options) -> Iterator[str]:
    serve, api, videos = options.serving.serve, options.api.serve_api, options.transcribing.videos
    if serve and api:
        yield "--serve is a page, --serve-api a server for programs: keep one, or start two with two --port"
    elif (serve or api) and videos:
        where = "--serve takes videos on its page" if serve else "--serve-api takes videos in requests"
        yield f"{where}, found {videos[0]}: leave one of them out"
    elif options.captions.live:
        yield from _live_problems(options)
    elif not (serve or api or videos):
        yield "VIDEO is missing: give one video or more before the flags, or --serve for a page"


def _live_problems(options: Options) -> Iterator[str]:
    live, videos = options.captions, options.transcribing.videos
    if options.api.serve_api:
        yield "--live and --serve-api are two programs: keep one"
    if options.serving.serve:
        yield "--live and --serve are two programs: keep one (the page has live captions of its own)"
    if len(videos) > 1:
        yield f"--live plays one file, found {len(videos)}: keep one"
    if videos and (live.camera or live.microphone):
        yield f"--live takes {videos[0]} or a device: leave out the file, or --camera and --microphone"
    if not videos and live.live_clock == "simulated":
        yield "--live-clock simulated needs a file to play: devices have the real time"
    if options.faces.speaker in ("talking", "all"):
        yield (
            f"--live cannot wait for --speaker {options.faces.speaker}, which needs it all: use largest or a "
            "number"
        )


def _missing(options: Options, needed: Collection[Field]) -> list[str]:
    return [_is_missing(field) for field in needed if options[field.name] is None]


def _is_missing(field: Field) -> str:
    """With the first sentence of its help."""
    purpose = re.split(r"(?<=[.:;])\s", field.help, maxsplit=1)[0].rstrip(".:;")
    name = field.name.upper() if field.scope.positional else field.flag
    return f"{name} is missing: {purpose[0].lower()}{purpose[1:]}"


def _missing_encoders(options: Options) -> Iterator[str]:
    for slot in options.slots:
        if options.encoder_of(slot) is not None:
            continue
        chosen = f"--modality {options.modality} needs"
        named = None if slot.named_by is None else options[slot.named_by]
        path = FIELDS[slot.avhubert_by].flag
        if named is not None:
            yield f"{FIELDS[slot.named_by].flag} {named} needs {path}, its checkpoint"
        elif slot.default is None:
            flag = FIELDS[slot.named_by].flag
            yield f"{chosen} {flag}: a Whisper or WavLM (hub name or folder), or av-hubert"
        else:
            yield f"{chosen} {path}, an AV-HuBERT checkpoint"


def _unused_by_modality(options: Options, explicit: Collection[str]) -> Iterator[str]:
    idle = {name for name in explicit if options[name] is not False} & idle_with(options)
    if idle:
        yield f"not used with --modality {options.modality}: {_flags(idle)}"
    named = options.training.unfrozen_modules
    if named is not None and options.lora.add_PETF_LLM and not {"peft_llm", "llm"} & set(named):
        yield "--unfrozen_modules does not name peft_llm: the LLM's adapters stay frozen, at zero"
    centroids = options["units_centroids"]
    if centroids is not None and "encoder" in " ".join(options.trained_modules):
        yield "--units-centroids: the encoder is trained, and the units found in its features change with it"


def _flags(names: Collection[str]) -> str:
    return ", ".join(FIELDS[name].flag for name in FIELDS if name in names)
