"""LRS3: mouth clips, sound and label files."""

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
    """LRS3 as unpacked: pretrain/, trainval/ and test/ with ID/UTT.mp4 and .txt."""
    subset: tuple[Literal["train", "test"], ...] = ()
    """What to prepare. Default: everything that is there."""


@dataclass(frozen=True, kw_only=True)
class Options(_sets.SetOptions):
    source: SourceOptions = field(default_factory=SourceOptions)


PROGRAM = Program(
    name="prepare lrs3",
    title=(
        "Prepare LRS3 in auto-avsr's layout. Videos of pretrain/ are cut at word boundaries, in pauses, by "
        "their alignments; those of trainval/ and test/ stay whole. The label file `train` covers pretrain/ "
        "and trainval/. An interrupted run continues where it stopped; a second run repeats no work."
    ),
    schema=Schema(Options, _faces.DETECTORS),
    leading=_sets.LEADING,
)


def run(options: Options) -> None:
    from preparation.datasets import lrs3

    source = options.source
    subsets = source.subset or lrs3.present(source.source_dir)
    _sets.run(options, lrs3.NAME, lrs3.items(source.source_dir, subsets))
