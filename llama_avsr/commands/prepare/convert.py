"""Label files from .csv to .tsv (manifests of AV-HuBERT and VSP-LLM), or back."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from datamodules.languages import parse_direction, show_direction
from llama_avsr.commands.prepare import _labels
from llama_avsr.options.common import LoggingOptions
from llama_avsr.options.fields import group, option
from llama_avsr.options.programs import Program
from llama_avsr.options.schema import Schema
from llama_avsr.options.values import NonNegativeInt


def _direction(text: str) -> str:
    return show_direction(parse_direction(text))


@group()
class ConversionOptions:
    """Conversion"""

    source: Path | None = option(None, positional=True, required=True)
    """Label file to convert, or its name in ROOT_DIR/labels."""
    target: Path | None = option(None, positional=True, required=True)
    """File to write: a .csv, or a .tsv with others beside it."""
    root_dir: Path | None = option(None, required=True)
    """Root of the data set; paths are relative to it."""
    lang: tuple[Annotated[str, _direction], ...] = option((), whole_words=True)
    """Languages spoken and written, such as en-es. From a .tsv, only clips of these are kept; for a
    .csv, all clips have them. Default: all clips of a .tsv; en-en for a .csv."""
    cluster_counts: Path | None = None
    """Runs of visual units to write beside the .tsv: a file with one line for each clip of SOURCE."""
    min_frames: NonNegativeInt | None = None
    """Leave out clips of fewer 25 Hz frames."""
    max_frames: NonNegativeInt | None = None
    """Leave out clips of more 25 Hz frames."""
    overwrite: bool = False
    """Replace TARGET if it exists."""


@group()
class CheckOptions:
    """Checks"""

    media: _labels.Media = ("audio", "video")
    """What must exist for every clip; sound may be the video's own track."""
    media_check: bool = True
    """Look at media files. --no-media-check converts where the media are not."""
    check_frames: bool = False
    """Compare lengths with the headers of the media."""
    allow_empty: bool = False
    """Keep clips without text, as in test sets."""


@dataclass(frozen=True, kw_only=True)
class Options:
    conversion: ConversionOptions = field(default_factory=ConversionOptions)
    checks: CheckOptions = field(default_factory=CheckOptions)
    logging: LoggingOptions = field(default_factory=LoggingOptions)
    plugins: dict[str, dict[str, Any]] = field(default_factory=lambda: SCHEMA.plugin_defaults())


SCHEMA = Schema(Options, _labels.FORMATS)
PROGRAM = Program(
    name="prepare convert",
    title=(
        "Convert a label file between the .csv of auto-avsr and Llama-AVSR (5 columns; those of 4 are "
        "read too) and the .tsv with .wrd and .cluster_counts of AV-HuBERT and VSP-LLM. The suffixes say "
        "which is which. Every line is checked before anything is written: texts, files, counts of units. "
        "What the new format cannot hold is reported. See labels/README.md."
    ),
    words="SOURCE TARGET [flags]",
    schema=SCHEMA,
)


def run(options: Options) -> None:
    from preparation.labels.convert import Choices, convert

    asked, checks = options.conversion, options.checks
    choices = Choices(
        languages=tuple(parse_direction(text) for text in asked.lang),
        path_prefix=SCHEMA.get(options, "path_prefix"),
        cluster_counts=asked.cluster_counts,
        media=checks.media if checks.media_check else (),
        check_frames=checks.check_frames,
        allow_empty=checks.allow_empty,
        min_frames=asked.min_frames,
        max_frames=asked.max_frames,
        overwrite=asked.overwrite,
    )
    done = convert(asked.source, asked.target, asked.root_dir, choices)
    print(f"Converted {done.num_clips} clips of {asked.source} to")
    for path in done.files:
        print(f"  {path}")
    for title, lines in (
        ("Left out:", done.left_out),
        (f"Not in {asked.target}, as a {asked.target.suffix} cannot hold it:", done.losses),
        ("Note:", done.notes),
    ):
        if lines:
            print(title)
        for line in lines:
            print(f"  {line}")
