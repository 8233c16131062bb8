"""Options of the data: where it lies, how it is batched, what is done to it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any, Literal

from datamodules.defaults import CLEAN_SNR_DB, TRAIN_NUM_BUCKETS
from datamodules.languages import Direction, parse_direction, show_direction
from llama_avsr.options.fields import DECODING, PROGRAMS, TESTING, TRAINING, group, option
from llama_avsr.options.values import NonNegativeInt, PositiveInt, Probability

MAX_WORKERS = 8

EVALUATION_FILES = {
    "val_file": "lrs3_test_transcript_lengths_seg24s_LLM_lowercase.csv",
    "test_file": ("lrs3_test_transcript_lengths_seg24s_LLM_lowercase.csv",),
}
"""Label files of evaluation, which cuts clips at 24 s and not at 16 s."""


def _direction(value: str) -> str:
    return show_direction(parse_direction(value))


def _expanded(value: str) -> str:
    return str(Path(value).expanduser())


def _hears(options: Any) -> bool:
    return "audio" in options.media


def _sees(options: Any) -> bool:
    return "video" in options.media


@group(programs=TESTING)
class DataOptions:
    """Data"""

    root_dir: Path | None = option(None, needed_by=TESTING, private=True)
    """Folder of the data set: `labels/` with the label files, and the media they name."""
    train_file: str = option(
        "lrs3_train_transcript_lengths_seg16s_LLM_lowercase_greater25.csv", programs=TRAINING
    )
    """Label file to train on, inside `labels/` of the root folder."""
    val_file: str = option("lrs3_test_transcript_lengths_seg16s_LLM_lowercase.csv", programs=TRAINING)
    """Label file to validate on, inside `labels/`."""
    test_file: tuple[str, ...] = ("lrs3_test_transcript_lengths_seg16s_LLM_lowercase.csv",)
    """Label files to test on, inside `labels/`; each is tested separately."""
    max_frames_audio: PositiveInt = option(1000, programs=PROGRAMS, when=lambda o: o.media == ("audio",))
    """Maximum batch size with --modality audio, in 25 Hz frames including padding."""
    max_frames_video: PositiveInt = option(1500, programs=PROGRAMS, when=lambda o: o.media == ("video",))
    """Maximum batch size with --modality video, in 25 Hz frames including padding."""
    max_frames_audiovisual: PositiveInt = option(1000, programs=PROGRAMS, when=lambda o: len(o.media) > 1)
    """Maximum batch size with both streams, in 25 Hz frames including padding."""
    max_clips: PositiveInt | None = option(None, programs=TRAINING)
    """Maximum number of clips in a training batch. Default: limited by the frames alone."""
    lang: tuple[Annotated[str, _direction], ...] = option((), programs=DECODING)
    """Language directions to test: `en` transcribes, `en-es` translates English to Spanish. For label files
    without languages (CSV), give one: the language to write. transcribe.py takes one."""
    train_num_buckets: PositiveInt = option(TRAIN_NUM_BUCKETS, programs=TRAINING)
    """Number of length buckets. Clips of one bucket are batched together, which keeps padding low."""
    num_workers: NonNegativeInt | None = None
    """Data loader processes per training process; 0 loads in the training process itself. Default: the CPU
    cores divided by the number of processes, minus one, at most 8."""

    feature_cache: Path | None = option(None, private=True)
    """Folder to keep the frames of frozen encoders in, for clips that come again: tests, and the epochs of a
    training without augmentation or with --augmentation-draws. A clip of 3 s takes 0.3 MB of Whisper-base."""

    @property
    def directions(self) -> tuple[Direction, ...]:
        """--lang as (spoken, written)."""
        return tuple(parse_direction(value) for value in self.lang)

    def workers(self, processes_per_node: int) -> int:
        """Loader processes of each of `processes_per_node` processes on this machine."""
        if self.num_workers is not None:
            return self.num_workers
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        return min(MAX_WORKERS, max(1, cores // processes_per_node - 1))


@group(programs=TRAINING)
class AugmentationOptions:
    """Noise and augmentation"""

    noise_file: tuple[Annotated[str, _expanded], ...] | None = option(
        None, programs=PROGRAMS, when=_hears, whole_words=True
    )
    """Noises to add: sound files, usually babble; folders of them, such as MUSAN, NOISEX or DEMAND; white,
    pink; speaker (another clip of the label file). Of several one is drawn for each clip. Default: none."""
    train_snr_levels: tuple[float | Literal["clean"], ...] = option(
        (-5.0, 0.0, 5.0, 10.0, 15.0, 20.0, "clean"), when=_hears
    )
    """Signal-to-noise ratios for training, in dB; one is drawn at random for each clip. `clean` adds no
    noise."""
    decode_snr_target: tuple[float | Literal["clean"], ...] = option(
        (CLEAN_SNR_DB,), programs=TESTING, when=_hears
    )
    """Signal-to-noise ratios to test at, in dB; 999999 or `clean` adds no noise, 0 is 0 dB."""
    test_noise: tuple[str, ...] = option((), programs=TESTING, when=_hears, whole_words=True, private=True)
    """Noises to test in, each at every --decode-snr-target: white, pink, speaker (another clip of the test
    set), a sound file, or a folder of sound files, such as MUSAN or a part of it, NOISEX or DEMAND. Default:
    --noise-file."""
    test_damage: tuple[
        Literal[
            "none",
            "blur",
            "patch",
            "freeze",
            "drop",
            "slow",
            "jpeg",
            "black",
            "late",
            "early",
            "silent",
        ],
        ...,
    ] = option(("none",), programs=TESTING, when=_sees)
    """Damages to test with, each in every noise: out of focus, a moving patch, half of the clip frozen, a
    quarter of the frames lost, 12.5 frames a second, JPEG at quality 5, no picture; sound 200 ms late or
    early, no sound."""
    noise_grid: bool = option(False, programs=("eval",))
    """Test in every noise at every SNR, and with every damage in clean sound. Lists that are not given are
    filled: white, pink, speaker and --noise-file; clean, -5, 0, 5 and 10 dB; all damages that fit the
    model."""
    video_augmentation: Literal["time-mask", "flip", "none"] = option("time-mask", when=_sees)
    """Augmentation of training video besides the random crop: time-mask blanks a window of up to 10 frames
    in every 25, flip mirrors half of the clips."""
    augmentation_draws: PositiveInt | None = None
    """Draw crop, masks and noise of a clip so many times, one draw an epoch, and then begin again with the
    first. Default: anew in every epoch."""
    modality_dropout: Probability = option(0.0, when=lambda o: len(o.streams) > 1)
    """Probability of dropping one of the streams of a training clip, for audio-visual models."""
    lips_mismatch: Probability = option(0.0, when=lambda o: len(o.streams) > 1)
    """Probability that the lips of a training clip are another clip's for up to a quarter of it, so that an
    audio-visual model does not trust lips more than clear sound. For an encoder of lips that was taught
    with the same clips, and is better on them than on others."""

    @property
    def train_snrs_db(self) -> tuple[float | None, ...]:
        """None stands for clean; only clean where there is no noise."""
        if not self.noise_file:
            return (None,)
        return tuple(_snr_db(level) for level in self.train_snr_levels)

    @property
    def decode_snrs_db(self) -> tuple[float | None, ...]:
        """None stands for clean."""
        return tuple(_snr_db(level) for level in self.decode_snr_target)


def _snr_db(level: float | str) -> float | None:
    return None if level in ("clean", CLEAN_SNR_DB) else float(level)
