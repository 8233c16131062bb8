"""From options to a DataModule."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from datamodules.datamodule import DataModule
from datamodules.defaults import CLEAN_SNR_DB
from datamodules.noise_sources import MADE
from llama_avsr.model.build import text_of
from llama_avsr.model.devices import on_gpu
from llama_avsr.model.speech_llm import SpeechLLM
from llama_avsr.options import Options


def build_datamodule(options: Options) -> DataModule:
    """The clips of the options' label files (the first of the test files, SNRs, noises and damages).

    Its `setup` checks the label files; before it loads a clip it must be connected with the model.
    Raises ValueError where the root folder or the noise is missing.
    """
    data, augmentation = options.data, options.augmentation
    if not data.root_dir.is_dir():
        raise ValueError(
            f"--root-dir {data.root_dir}: found no such folder; expected one with labels/ and the media"
        )
    media = options.media
    noise = (augmentation.noise_file or ()) if "audio" in media else ()
    for kind in noise:
        if kind not in MADE and not Path(kind).exists():
            raise ValueError(
                f"--noise-file {kind}: found no such file; expected a wav of the noise, a folder, or one of "
                f"{', '.join(MADE)}"
            )
    return DataModule(
        data.root_dir,
        media=media,
        train_file=data.train_file,
        val_file=data.val_file,
        test_file=data.test_file[0],
        max_frames=options.train_max_frames,
        max_clips=data.max_clips,
        eval_max_clips=options.decoding.test_max_clips,
        directions=data.directions,
        needs_units=options.chooses("compressors", "units") and options["units_centroids"] is None,
        format_options=options.by_name("formats"),
        eval_max_frames=options.test_max_frames,
        train_num_buckets=data.train_num_buckets,
        num_workers=data.workers(options.hardware.gpus),
        pin_memory=on_gpu(options),
        seed=options.hardware.seed,
        noise=noise,
        train_snrs_db=_levels(augmentation.train_snrs_db),
        decode_snr_db=_level(augmentation.decode_snrs_db[0]) if "audio" in media else CLEAN_SNR_DB,
        test_noise=next(iter(augmentation.test_noise), None) if "audio" in media else None,
        test_damage=augmentation.test_damage[0],
        augmentation_draws=augmentation.augmentation_draws,
        video_augmentation=augmentation.video_augmentation.replace("-", "_"),
    )


def connect(datamodule: DataModule, options: Options, model: SpeechLLM) -> None:
    """Have clips prepared for `model`'s encoders and tokenizer."""
    datamodule.encode_text = text_of(options, model.vocabulary)
    datamodule.prepare_audio = model.prepare_audio


def _levels(levels: Sequence[float | None]) -> list[float]:
    return [_level(level) for level in levels]


def _level(snr_db: float | None) -> float:
    return CLEAN_SNR_DB if snr_db is None else snr_db
