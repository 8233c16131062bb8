"""Whether options fit each other: problems (errors), what is missing, what has no effect (notes)."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator

from datamodules import registry
from llama_avsr.options.fields import flag_of
from llama_avsr.options.groups import FIELDS, Options
from llama_avsr.options.modalities import CHOSEN, MODALITIES
from llama_avsr.options.transcribing import TRANSCRIBING, VIDEOS

IDLE_GROUPS = ("training", "checkpoints")
"""Groups without effect in evaluation, but for the model's path."""
IDLE_FIELDS = frozenset(
    {"train_file", "train_num_buckets", "max_clips", "train_snr_levels"}
    | {"video_augmentation", "modality_dropout"}
    | {"lora_dropout", "gradient_checkpointing", "log_every_n_steps"}
)
"""Others without effect in evaluation."""
MODEL = ("modality", "llm_model")
NEEDED = {
    "train": ("root_dir", *MODEL),
    "eval": ("pretrained_model_path", "root_dir"),
    "transcribe": ("pretrained_model_path",),
}
"""What each program asks of its user. Others than training have the rest from the checkpoint."""
MODEL_GROUPS = ("goal", "encoder", "compression", "projector", "llm", "lora")
TRANSCRIPTION_GROUPS = (*MODEL_GROUPS, *TRANSCRIBING)
TRANSCRIPTION_FIELDS = frozenset(
    {"pretrained_model_path", "lang", "output_dir", "debug", "accelerator", "precision"}
    | {
        "attn_implementation",
        "num_beams",
        "max_dec_tokens",
        "length_penalty",
        "nbest",
        "test_max_frames",
        "noise_file",
    }
)
"""What transcription reads beside these groups."""
SERVED = ("noise_file", "host", "port", "examples")
"""Read with --serve only."""
DOING = {"train": "training", "eval": "evaluation", "transcribe": "transcription"}
RATIOS = ("downsample_ratio_audio", "downsample_ratio_video", "downsample_ratio_audiovisual")
PROMPTS = ("prompt_audio", "prompt_video", "prompt_audiovisual")
INSTRUCTIONS = ("instruction_recognize", "instruction_translate")
TRI_STAGE = ("hold_steps", "decay_steps", "init_lr_scale", "final_lr_scale")
ENCODER_REGULARISATION = tuple(
    f"encoder_{name}"
    for name in ("layer_drop", "input_dropout", "dropout", "attention_dropout", "activation_dropout")
)
PURPOSE = {
    "pretrained_model_path": "a checkpoint, or the folder of a run",
    "root_dir": "the folder that holds labels/ and the media",
    "modality": f"one of {', '.join(MODALITIES)}",
    "llm_model": "hub name or folder of a language model",
}


def check(options: Options, program: str) -> None:
    """Raise ValueError, a line for each fault, where options contradict each other or some is missing."""
    faults = [*problems(options, program), *missing(options, program)]
    if faults:
        raise ValueError("\n".join(faults))


def problems(options: Options, program: str) -> list[str]:
    """Contradictions between options that are set."""
    faults = [
        *_task_problems(options),
        *_lora_problems(options),
        *_quantisation_problems(options),
        *_running_problems(options),
    ]
    if program == "train":
        faults += [*_unfreezing_problems(options), *_training_problems(options)]
    return faults


def missing(options: Options, program: str) -> list[str]:
    """Flags without which the program cannot do its work."""
    names = dict.fromkeys((*NEEDED[program], *MODEL))
    encoders = _missing_encoders(options) if options.goal.modality else ()
    return [*_missing(options, names), *encoders]


def missing_at_start(options: Options, program: str) -> list[str]:
    """The same, before evaluation has read a checkpoint, which may bring the rest."""
    if program == "train":
        return missing(options, program)
    videos = _videos_or_page(options) if program == "transcribe" else ()
    return [*videos, *_missing(options, NEEDED[program])]


def _videos_or_page(options: Options) -> Iterator[str]:
    serve, videos = options.serving.serve, options[VIDEOS]
    if serve and videos:
        yield f"--serve takes videos on its page, found {videos[0]}: leave one of them out"
    elif not serve and not videos:
        yield "VIDEO is missing: give one video or more before the flags, or --serve for a page"


def unused(options: Options, explicit: Collection[str], program: str) -> list[str]:
    """Notes on flags that were set and have no effect."""
    notes = list(_unused_by_modality(options, explicit)) if options.goal.modality else []
    idle = [name for name in explicit if is_idle(name, program)]
    if program == "transcribe" and not options.serving.serve:
        idle += [name for name in SERVED if name in explicit]
    if idle:
        notes.append(f"no effect in {DOING[program]}: {_flags(idle)}")
    if (
        program == "train"
        and options.goal.modality
        and "audio" in options.modality.media
        and options.augmentation.noise_file is None
    ):
        notes.append("no --noise-file: the model is trained on clean speech")
    return notes


def is_idle(name: str, program: str) -> bool:
    """Whether an option changes nothing in a program."""
    group = FIELDS[name].group
    if program == "transcribe":
        return group not in TRANSCRIPTION_GROUPS and name not in TRANSCRIPTION_FIELDS
    return group in TRANSCRIBING or (program == "eval" and is_idle_in_evaluation(name))


def is_idle_in_evaluation(name: str) -> bool:
    """Whether an option changes nothing once the model is trained."""
    if name in IDLE_FIELDS:
        return True
    return FIELDS[name].group in IDLE_GROUPS and name != "pretrained_model_path"


def idle_with_modality(options: Options) -> set[str]:
    """Options that change nothing with the chosen modality and encoder."""
    used = set(options.modality.uses)
    if not options.encoder.audio_is_avhubert:
        used.discard("pretrain_avhubert_enc_audio_path")
    if options.projector.single_projector_avhubert and "single_projector_avhubert" in used:
        used -= {"downsample_ratio_audio", "downsample_ratio_video"}
    return (CHOSEN - used) | set(_idle_by_choice(options))


def _idle_by_choice(options: Options) -> Iterator[str]:
    """Options that another option's value makes idle."""
    if not options.has_avhubert:
        yield "use_lora_avhubert"
        yield from ENCODER_REGULARISATION
    if options.compression.compression_mode == "units":
        yield from RATIOS
    else:
        yield from ("units_centroids", "units_layer")
    if options.projector.projector_type == "linear":
        yield "intermediate_size"
    if options.training.lr_schedule != "tri-stage":
        yield from TRI_STAGE
    yield from PROMPTS if _is_instructed(options) else INSTRUCTIONS


def _is_instructed(options: Options) -> bool:
    name = options.goal.task
    return name is not None and registry.load("llama_avsr.tasks", name).TASK.prompt is None


def _task_problems(options: Options) -> Iterator[str]:
    task, compression = options.goal, options.compression
    if task.modality is None:
        return
    for name in INSTRUCTIONS:
        try:
            options[name].format(spoken="", written="")
        except (KeyError, IndexError, ValueError):
            yield f"{flag_of(name)} {options[name]!r}: expected {{spoken}} and {{written}} in braces, if any"
    if task.task is not None:
        known = registry.load("llama_avsr.tasks", task.task).TASK.streams
        if task.modality not in known:
            yield f"--task {task.task} --modality {task.modality}: it takes {', '.join(known)}"
    hears_otherwise = "audio_encoder_name" in options.modality.uses and not options.encoder.audio_is_avhubert
    if compression.compression_mode == "units" and hears_otherwise:
        yield "--compression-mode units merges AV-HuBERT's frames: take --modality video, or av-hubert as ear"


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


def _unfreezing_problems(options: Options) -> Iterator[str]:
    needs = {
        "peft_llm": (options.lora.add_PETF_LLM is not None, "--add_PETF_LLM lora"),
        "lora_avhubert": (options.encoder.use_lora_avhubert, "--use-lora-avhubert"),
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
    if checkpoints.ckpt_path and checkpoints.pretrained_model_path:
        yield "--ckpt-path resumes a training, --pretrained-model-path starts one from a model: keep one"


def _running_problems(options: Options) -> Iterator[str]:
    augmentation, decoding, run = options.augmentation, options.decoding, options.run
    hears = options.goal.modality is None or "audio" in options.modality.media
    noisy = [snr_db for snr_db in augmentation.decode_snrs_db if snr_db is not None]
    if noisy and augmentation.noise_file is None and hears:
        yield f"--decode-snr-target {noisy[0]:g} needs --noise-file, a wav of the noise"
    if decoding.nbest > decoding.num_beams:
        yield f"--nbest {decoding.nbest} needs at least as many --num-beams, found {decoding.num_beams}"
    if run.logger == "wandb" and not run.project_wandb:
        yield "--logger wandb needs --project-wandb, the name of a W&B project"
    if options.hardware.accelerator == "cpu" and options.hardware.precision == "16":
        yield "--precision 16 needs a GPU: take bf16 or 32 with --accelerator cpu"


def _missing(options: Options, names: Iterable[str]) -> list[str]:
    return [f"{flag_of(name)} is missing: {PURPOSE[name]}" for name in names if options[name] is None]


def _missing_encoders(options: Options) -> Iterator[str]:
    encoder, modality = options.encoder, options.modality
    chosen = f"--modality {options.goal.modality} needs"
    if "audio_encoder_name" in modality.uses:
        if encoder.audio_encoder_name is None and not encoder.audio_is_avhubert:
            yield f"{chosen} --audio-encoder-name: a Whisper or WavLM (hub name or folder), or av-hubert"
        elif encoder.audio_is_avhubert and encoder.pretrain_avhubert_enc_audio_path is None:
            yield "--audio-encoder-name av-hubert needs --pretrain-avhubert-enc-audio-path, its checkpoint"
    if modality.avhubert is not None and options[modality.avhubert] is None:
        yield f"{chosen} {flag_of(modality.avhubert)}, an AV-HuBERT checkpoint"


def _unused_by_modality(options: Options, explicit: Collection[str]) -> Iterator[str]:
    idle = {name for name in explicit if options[name] is not False} & idle_with_modality(options)
    if idle:
        yield f"not used with --modality {options.goal.modality}: {_flags(idle)}"
    named = options.training.unfrozen_modules
    if named is not None and options.lora.add_PETF_LLM and not {"peft_llm", "llm"} & set(named):
        yield "--unfrozen_modules does not name peft_llm: the LLM's adapters stay frozen, at zero"
    compression = options.compression
    if compression.units_centroids is not None and "encoder" in " ".join(options.trained_modules):
        yield "--units-centroids: the encoder is trained, and the units it is asked for move with it"


def _flags(names: Collection[str]) -> str:
    return ", ".join(flag_of(name) for name in FIELDS if name in names)
