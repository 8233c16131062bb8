"""Manifests of the demo's data set: English transcripts and word-by-word Spanish."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from llama_avsr.options.common import LoggingOptions
from llama_avsr.options.fields import group, option
from llama_avsr.options.programs import Program
from llama_avsr.options.schema import Schema


@group()
class ManifestOptions:
    """Manifests"""

    root_dir: Path | None = option(None, required=True)
    """Folder that `prepare_data.py demo` made."""
    units_dir: Path | None = None
    """Folder that `prepare_data.py units apply` wrote to, for all four .csv."""


@dataclass(frozen=True, kw_only=True)
class Options:
    manifests: ManifestOptions = field(default_factory=ManifestOptions)
    logging: LoggingOptions = field(default_factory=LoggingOptions)


PROGRAM = Program(
    name="prepare demo-translation",
    title=(
        "Write manifests (.tsv, .wrd) of the demo's data set for recognition and translation in one "
        "model. In training and validation, clips alternate between their English transcript and its "
        "word-by-word Spanish; in the tests each clip is there in both languages. With --units-dir, the "
        "runs of visual units that `units apply` found lie beside them (.cluster_counts). Existing "
        "manifests are replaced."
    ),
    schema=Schema(Options),
)


def run(options: Options) -> None:
    from llama_avsr.demo.corpus.manifests import manifest_path, write_manifests

    asked = options.manifests
    for split, num_clips in write_manifests(asked.root_dir, asked.units_dir).items():
        print(f"{num_clips:5d} clips  {manifest_path(asked.root_dir, split)}")
