"""VoxCeleb2: mouth clips, sound and, with a model's transcripts, label files."""

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
    """VoxCeleb2 as unpacked: dev/mp4/ID/VIDEO/UTT.mp4, with the sound in the videos or in dev/aac/; test/
    likewise."""
    transcripts: Path | None = None
    """Transcripts of the clips: a .csv with columns id and text (or hypothesis, as eval_LLM.py writes),
    .json or .jsonl."""
    subset: tuple[Literal["train", "test"], ...] = ()
    """What to prepare. Default: everything that is there."""


@dataclass(frozen=True, kw_only=True)
class Options(_sets.SetOptions):
    source: SourceOptions = field(default_factory=SourceOptions)


PROGRAM = Program(
    name="prepare vox2",
    title=(
        "Prepare VoxCeleb2 in auto-avsr's layout. It has no transcripts: a first run cuts the clips, "
        "where it is quiet, and lists them in labels/vox2_train_to_transcribe_seg16s.csv. Once a speech "
        "recogniser has transcribed them, the same command with --transcripts writes the label files and "
        "makes no clip again. Where the transcripts of whole videos have word times (.json), clips are "
        "cut at words instead."
    ),
    schema=Schema(Options, _faces.DETECTORS),
    leading=_sets.LEADING,
)


def run(options: Options) -> None:
    from preparation.datasets import asr_transcripts, vox2

    source = options.source
    heard = asr_transcripts.read(source.transcripts) if source.transcripts else None
    subsets = source.subset or vox2.present(source.source_dir)
    items = vox2.items(source.source_dir, subsets, heard)
    _sets.run(options, vox2.NAME, items, transcripts=heard)
