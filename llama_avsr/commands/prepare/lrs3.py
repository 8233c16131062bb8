"""LRS3: mouth clips, sound and label files."""

from __future__ import annotations

import argparse

from llama_avsr.commands.prepare import _prepare

HELP = "LRS3: mouth clips, sound and label files"
DESCRIPTION = (
    "Prepare LRS3 as auto-avsr lays it out. Videos of pretrain/ are cut at word boundaries, in pauses, by "
    "their alignments; those of trainval/ and test/ stay whole. The label file `train` is of pretrain/ and "
    "trainval/. A run that was stopped goes on where it was; a second run does nothing twice."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    _prepare.add_source(parser, "LRS3 as unpacked: pretrain/, trainval/ and test/ with ID/UTT.mp4 and .txt")
    _prepare.add_subset(parser, ("train", "test"))
    _prepare.add_shared(parser)


def run(arguments: argparse.Namespace) -> None:
    from preparation.datasets import lrs3

    subsets = arguments.subset or lrs3.present(arguments.source_dir)
    _prepare.run(arguments, lrs3.NAME, lrs3.items(arguments.source_dir, subsets))
