"""Your own videos: clip.mp4 with clip.txt, or clip.srt, or clip.vtt beside it."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from llama_avsr.commands.prepare import _faces, _sets
from llama_avsr.options.fields import group, option
from llama_avsr.options.programs import Program
from llama_avsr.options.schema import Schema
from llama_avsr.options.values import NonNegativeFloat, Probability


def _name(text: str) -> str:
    if not re.fullmatch(r"\w[\w.-]*", text):
        raise ValueError(f"expected letters, digits, _ . -, found {text!r}")
    return text


@group()
class SourceOptions:
    """Data set"""

    source_dir: Path | None = option(None, required=True)
    """Folder with your videos and their texts."""
    dataset: Annotated[str, _name] | None = None
    """Name of the data set: letters, digits, _ . -. Default: the name of --source-dir."""
    val_share: Probability = 0.0
    """Share of the videos to hold out for validation, from 0 to 1."""
    test_share: Probability = 0.0
    """Share of the videos to hold out for tests, from 0 to 1."""
    verbatim: bool = False
    """Keep texts as they are, without --lowercase. Default: punctuation and [annotations] are removed,
    and words are upper-case in text files, lower-case in label files."""
    max_gap: NonNegativeFloat = _faces.MAX_GAP_SECONDS
    """Seconds. In videos with subtitles, a face that is lost for longer begins a new stretch of video."""


@dataclass(frozen=True, kw_only=True)
class Options(_sets.SetOptions):
    source: SourceOptions = field(default_factory=SourceOptions)


def _problems(options: Options) -> Iterator[str]:
    if options.source.val_share + options.source.test_share > 1:
        yield "--val-share and --test-share: expected at most 1 together"


PROGRAM = Program(
    name="prepare folder",
    title=(
        "Make a data set from a folder of videos, subfolders included. Beside each video lies its text: "
        "an .srt or .vtt, at whose cues it is cut, or a .txt with what is said in the whole clip, which "
        "then must not be longer than --seg-seconds. Videos in subfolders train/, val/ and test/ go to "
        "label files of these names, all others to train; --val-share and --test-share hold some out. An "
        "interrupted run continues where it stopped; a second run repeats no work."
    ),
    schema=Schema(Options, _faces.DETECTORS),
    defaults={"lowercase": None},  # follows --verbatim
    leading=_sets.LEADING,
    check=_problems,
)


def run(options: Options) -> None:
    from preparation.datasets import folder

    source = options.source
    dataset = source.dataset or re.sub(r"[^\w.-]+", "_", source.source_dir.resolve().name)
    if options.labels.lowercase is None:
        labels = dataclasses.replace(options.labels, lowercase=not source.verbatim)
        options = dataclasses.replace(options, labels=labels)
    items, without = folder.items(
        source.source_dir,
        verbatim=source.verbatim,
        val_share=source.val_share,
        test_share=source.test_share,
        leave_out=options.clips.root_dir / dataset,
    )
    _sets.run(options, _name(dataset), items, source.max_gap, without=without)
