"""Options of the data: where it lies, how it is batched, what is done to it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any, Literal

from datamodules.languages import Direction, parse_direction, show_direction
from llama_avsr.options.fields import DECODING, PROGRAMS, TESTING, TRAINING, group, option
from llama_avsr.options.values import NonNegativeInt, PositiveInt, Probability

CLEAN_SNR_DB = 999_999
"""The published spelling of "add no noise"."""

MAX_WORKERS = 8

EVALUATION_FILES = {
    "val_file": "lrs3_test_transcript_lengths_seg24s_LLM_lowercase.csv",
    "test_file": ("lrs3_test_transcript_lengths_seg24s_LLM_lowercase.csv",),
}
"""Label files of evaluation, which cuts clips at 24 s and not at 16 s."""


def _direction(value: str) -> str:
    return show_direction(parse_direction(value))


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
    """Label file to test on, inside `labels/`; of several, each is tested."""
    max_frames_audio: PositiveInt = option(1000, programs=PROGRAMS, when=lambda o: o.media == ("audio",))
    """Largest batch with --modality audio, in 25 Hz frames, padding included."""
    max_frames_video: PositiveInt = option(1500, programs=PROGRAMS, when=lambda o: o.media == ("video",))
    """Largest batch with --modality video, in 25 Hz frames, padding included."""
    max_frames_audiovisual: PositiveInt = option(1000, programs=PROGRAMS, when=lambda o: len(o.media) > 1)
    """Largest batch with both streams, in 25 Hz frames, padding included."""
    max_clips: PositiveInt | None = option(None, programs=TRAINING)
    """Most clips in a training batch. Left out: as many as the frames allow."""
    lang: tuple[Annotated[str, _direction], ...] = option((), programs=DECODING)
    """Test only these directions: `en` transcribes, `en-es` translates to Spanish. For a label file that
    names no languages (CSV), give one: it says what the model is to write. For transcribe.py: one."""
    train_num_buckets: PositiveInt = option(400, programs=TRAINING)
    """Number of length buckets; clips of one bucket share a batch, so that little is padding."""
    num_workers: NonNegativeInt | None = None
    """Loader processes of each training process; 0 loads in the process itself. Left out: the
    machine's cores divided among the processes, less one, at most 8."""

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

    noise_file: Path | None = option(None, programs=PROGRAMS, when=_hears)
    """Noise to mix in, usually babble: a wav file. Left out: no noise anywhere."""
    train_snr_levels: tuple[float | Literal["clean"], ...] = option(
        (-5.0, 0.0, 5.0, 10.0, 15.0, 20.0, "clean"), when=_hears
    )
    """Signal-to-noise ratios in training, in dB, one drawn for each clip; `clean` adds no noise."""
    decode_snr_target: tuple[float | Literal["clean"], ...] = option(
        (float(CLEAN_SNR_DB),), programs=TESTING, when=_hears
    )
    """Signal-to-noise ratio of the test set, in dB; 999999 or `clean` adds no noise. 0 is 0 dB. At
    several, each is tested."""
    video_augmentation: Literal["time-mask", "flip", "none"] = option("time-mask", when=_sees)
    """What is done to training video besides the random crop: blank a window of up to 10 frames in
    every 25, or mirror half of the clips."""
    modality_dropout: Probability = option(0.0, when=lambda o: len(o.streams) > 1)
    """Probability that a training clip of an audio-visual model loses one of its streams."""

    @property
    def train_snrs_db(self) -> tuple[float | None, ...]:
        """None stands for clean; only clean where there is no noise file."""
        if self.noise_file is None:
            return (None,)
        return tuple(_snr_db(level) for level in self.train_snr_levels)

    @property
    def decode_snrs_db(self) -> tuple[float | None, ...]:
        """None stands for clean."""
        return tuple(_snr_db(level) for level in self.decode_snr_target)


def _snr_db(level: float | str) -> float | None:
    return None if level in ("clean", CLEAN_SNR_DB) else float(level)
