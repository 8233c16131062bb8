"""LRS2: mouth clips, sound and label files."""

from __future__ import annotations

import argparse
from pathlib import Path

from llama_avsr.commands.prepare import _prepare

HELP = "LRS2: mouth clips, sound and label files"
DESCRIPTION = (
    "Prepare LRS2 as auto-avsr lays it out. Videos of pretrain/ are cut at word boundaries, in pauses, by "
    "their alignments; those of main/ stay whole. The lists train.txt, val.txt and test.txt that come with "
    "LRS2 divide main/; the label file `train` is of pretrain/ and train.txt. A run that was stopped goes "
    "on where it was; a second run does nothing twice."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    _prepare.add_source(parser, "LRS2 as unpacked: mvlrs_v1/ with main/ and pretrain/, ID/UTT.mp4 and .txt")
    parser.add_argument(
        "--lists-dir",
        type=Path,
        help="folder of train.txt, val.txt, test.txt and, if there is one, pretrain.txt (looked for in "
        "--source-dir and in mvlrs_v1/)",
        metavar="DIR",
    )
    _prepare.add_subset(parser, ("train", "val", "test"))
    _prepare.add_shared(parser)


def run(arguments: argparse.Namespace) -> None:
    from preparation.datasets import lrs2

    subsets = arguments.subset or lrs2.SUBSETS
    _prepare.run(arguments, lrs2.NAME, lrs2.items(arguments.source_dir, subsets, arguments.lists_dir))
