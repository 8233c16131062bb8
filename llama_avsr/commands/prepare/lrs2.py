"""LRS2: mouth clips, sound and label files."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from llama_avsr.commands.prepare import _faces, _sets
from llama_avsr.options.fields import group, option
from llama_avsr.options.programs import Program
from llama_avsr.options.schema import Schema


@group()
class SourceOptions:
    """Data set"""

    source_dir: Path | None = option(None, required=True)
    """LRS2 as unpacked: mvlrs_v1/ with main/ and pretrain/, ID/UTT.mp4 and .txt."""
    lists_dir: Path | None = None
    """Folder of train.txt, val.txt, test.txt and, if there is one, pretrain.txt. Default: --source-dir, or
    mvlrs_v1/ in it."""
    subset: tuple[Literal["train", "val", "test"], ...] = ()
    """What to prepare. Default: everything that is there."""


@dataclass(frozen=True, kw_only=True)
class Options(_sets.SetOptions):
    source: SourceOptions = field(default_factory=SourceOptions)


PROGRAM = Program(
    name="prepare lrs2",
    title=(
        "Prepare LRS2 in auto-avsr's layout. Videos of pretrain/ are cut at word boundaries, in pauses, by "
        "their alignments; those of main/ stay whole. The lists train.txt, val.txt and test.txt that come "
        "with LRS2 divide main/; the label file `train` covers pretrain/ and train.txt. An interrupted run "
        "continues where it stopped; a second run repeats no work."
    ),
    schema=Schema(Options, _faces.DETECTORS),
    leading=_sets.LEADING,
)


def run(options: Options) -> None:
    from preparation.datasets import lrs2

    source = options.source
    subsets = source.subset or lrs2.SUBSETS
    _sets.run(options, lrs2.NAME, lrs2.items(source.source_dir, subsets, source.lists_dir))
