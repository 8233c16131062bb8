"""VoxCeleb2: mouth clips, sound and, with a model's transcripts, label files."""

from __future__ import annotations

import argparse
from pathlib import Path

from llama_avsr.commands.prepare import _prepare

HELP = "VoxCeleb2: mouth clips, sound and, with a model's transcripts, label files"
DESCRIPTION = (
    "Prepare VoxCeleb2 as auto-avsr lays it out. It has no transcripts: a first run cuts the clips, where "
    "it is quiet, and lists them in labels/vox2_train_to_transcribe_seg16s.csv; once a speech recognition "
    "model has written down what it hears, the same command with --transcripts writes the label files and "
    "makes no clip twice. Where the transcripts of whole videos have word times (.json), clips are cut at "
    "words instead."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    _prepare.add_source(
        parser, "VoxCeleb2 as unpacked: dev/mp4/ID/VIDEO/UTT.mp4, sound there or in dev/aac/; test/ likewise"
    )
    parser.add_argument(
        "--transcripts",
        type=Path,
        help="texts by clip: .csv with id and text (or hypothesis, as eval_LLM.py writes), .json or .jsonl",
        metavar="FILE",
    )
    _prepare.add_subset(parser, ("train", "test"))
    _prepare.add_shared(parser)


def run(arguments: argparse.Namespace) -> None:
    from preparation.datasets import asr_transcripts, vox2

    heard = asr_transcripts.read(arguments.transcripts) if arguments.transcripts else None
    subsets = arguments.subset or vox2.present(arguments.source_dir)
    items = vox2.items(arguments.source_dir, subsets, heard)
    _prepare.run(arguments, vox2.NAME, items, transcripts=heard)
