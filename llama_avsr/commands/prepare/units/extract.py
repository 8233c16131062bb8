"""Features of an AV-HuBERT layer, in shards."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from llama_avsr.commands.prepare.units._shared import Audio
from llama_avsr.model.builtin import located
from llama_avsr.options.common import LoggingOptions
from llama_avsr.options.fields import group, option
from llama_avsr.options.programs import Program
from llama_avsr.options.schema import Schema
from llama_avsr.options.values import NonNegativeInt, PositiveInt

MAX_WORKERS = 8


@group()
class ExtractionOptions:
    """Extraction"""

    root_dir: Path | None = option(None, required=True)
    """Root of the data set."""
    label_file: str | None = option(None, required=True)
    """Label file of any format, or its name in ROOT_DIR/labels."""
    encoder: Path | None = option(None, required=True)
    """AV-HuBERT: a fairseq .pt or a folder."""
    out_dir: Path | None = option(None, required=True)
    """Folder to write the shards to."""
    layer: NonNegativeInt = 12
    """Layer whose raw output is taken, counted from 1; 0 is the input."""
    audio: Audio = "silent"
    """Audio beside the video: a tensor of zeros, as for the published units, or nothing."""
    split: str | None = None
    """Name of the shards. Default: the label file's, without suffix."""
    overwrite: bool = False
    """Make the shard again, whatever lies there under its name."""


@group()
class ShardOptions:
    """Running"""

    nshard: PositiveInt | None = None
    """Number of parts to divide the label file into. Default: the processes of torchrun or srun, else 1."""
    rank: NonNegativeInt | None = None
    """Which part this process makes, starting at 0. Default: its rank under torchrun or srun."""
    max_frames: PositiveInt = 1500
    """Maximum number of video frames in a batch, padding included."""
    num_workers: NonNegativeInt | None = None
    """Number of processes that decode video. Default: one for each core, at most 8."""


@dataclass(frozen=True, kw_only=True)
class Options:
    extraction: ExtractionOptions = field(default_factory=ExtractionOptions)
    running: ShardOptions = field(default_factory=ShardOptions)
    logging: LoggingOptions = field(default_factory=LoggingOptions)


PROGRAM = Program(
    name="prepare units extract",
    title=(
        "Write the raw output of one AV-HuBERT layer for every frame of a label file's clips: "
        "SPLIT_RANK_NSHARD.npy (float32), .len and .json. An interrupted run continues where it stopped, and "
        "finished shards are kept. Under torchrun or srun every process makes its own shard."
    ),
    schema=Schema(Options),
)


def run(options: Options) -> None:
    import os

    import av_hubert
    from datamodules import formats
    from preparation.units import extraction

    asked, running = options.extraction, options.running
    rank, nshard = extraction.launched_shard(running.rank, running.nshard)
    label_path = formats.find(asked.label_file, asked.root_dir)
    utterances = formats.read(label_path, asked.root_dir, media=("video",))
    device = extraction.default_device()
    num_workers = running.num_workers
    if num_workers is None:
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1
        num_workers = min(cores, MAX_WORKERS)
    made = extraction.extract_shard(
        av_hubert.load_checkpoint(located(str(asked.encoder))).to(device),
        utterances,
        asked.out_dir,
        split=asked.split or label_path.stem,
        layer=asked.layer,
        audio=asked.audio,
        rank=rank,
        nshard=nshard,
        max_frames=running.max_frames,
        num_workers=num_workers,
        overwrite=asked.overwrite,
    )
    state = "was there already" if made.was_there else f"made on {device}"
    size = made.path.stat().st_size / 1e6
    print(f"{made.path}: {made.num_utterances} clips, {made.num_frames} frames, {size:.1f} MB, {state}")
    if made.num_other_lengths:
        print(
            f"  {made.num_other_lengths} clips have other lengths than {label_path} says; "
            "units follow the videos"
        )
