"""GRID: mouth clips, sound, label files and word times."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from llama_avsr.commands.prepare import _faces, _sets
from llama_avsr.options.fields import group, option
from llama_avsr.options.programs import Program
from llama_avsr.options.schema import Schema
from llama_avsr.options.values import NonNegativeInt, Probability


@group()
class SourceOptions:
    """Data set"""

    source_dir: Path | None = option(None, required=True)
    """GRID as unpacked: a folder for each speaker (s1, s2, ...) with .mpg or .mp4 videos."""
    align_dir: Path | None = None
    """Folder of the word alignments (.align). Default: looked for beside the videos and below
    --source-dir; the names of the files spell the sentences where there are none."""
    protocol: Literal["unseen-speakers", "overlapped", "random"] = "unseen-speakers"
    """What is tested: speakers s1, s2, s20 and s22, who then are not trained on; 255 sentences of each
    speaker; or --test-share of the sentences, whoever says them."""
    val_share: Probability = 0.05
    """Share of the sentences to validate on, out of those that are not tested (random: out of all)."""
    test_share: Probability = 0.15
    """With --protocol random: share of the sentences to test on."""
    split_seed: NonNegativeInt = 42
    """Seed of the draw of validation and test sentences."""


@dataclass(frozen=True, kw_only=True)
class Options(_sets.SetOptions):
    source: SourceOptions = field(default_factory=SourceOptions)


PROGRAM = Program(
    name="prepare grid",
    title=(
        "Prepare GRID, a free corpus of 34 people who say commands of six words. Every video becomes one "
        "clip, with its words and when each is said; --protocol says who and what is tested. An interrupted "
        "run continues where it stopped; a second run repeats no work."
    ),
    schema=Schema(Options, _faces.DETECTORS),
    leading=_sets.LEADING,
)


def run(options: Options) -> None:
    from preparation.datasets import grid

    source = options.source
    split = grid.Split(source.protocol, source.val_share, source.test_share, source.split_seed)
    items, left_out = grid.items(source.source_dir, split, source.align_dir)
    settings = _sets.run(options, grid.NAME, items, without=left_out)
    if (path := grid.write_word_times(items, settings)) is not None:
        print(f"  when each word is said: {path}")
