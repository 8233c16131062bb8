"""Make babble out of a data set's own voices, for --noise-file."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from llama_avsr.commands.prepare import _labels
from llama_avsr.options.common import LoggingOptions
from llama_avsr.options.fields import group, option
from llama_avsr.options.programs import Program
from llama_avsr.options.schema import Schema
from llama_avsr.options.values import NonNegativeInt, PositiveFloat, PositiveInt


@group()
class BabbleOptions:
    """Babble"""

    labels: Path | None = option(None, positional=True, required=True)
    """Label file of the clips that talk: a path, or a name in ROOT_DIR/labels. Training clips: a test should
    not be heard in the noise of training, nor training in that of a test."""
    root_dir: Path | None = option(None, required=True)
    """Root of the data set."""
    out: Path | None = None
    """Sound file to write. Default: babble.wav in the root."""
    voices: PositiveInt = 8
    """Number of clips heard at any time."""
    seconds: PositiveFloat = 120.0
    """Length."""
    seed: NonNegativeInt = 42
    """Seed of the order of the clips."""


@dataclass(frozen=True, kw_only=True)
class Options:
    babble: BabbleOptions = field(default_factory=BabbleOptions)
    logging: LoggingOptions = field(default_factory=LoggingOptions)
    plugins: dict[str, dict[str, Any]] = field(default_factory=lambda: SCHEMA.plugin_defaults())


SCHEMA = Schema(Options, _labels.FORMATS)
PROGRAM = Program(
    name="prepare babble",
    title=(
        "Mix clips of a data set into babble, noise made of people who talk at once: for --noise-file in "
        "training and evaluation. The same seed gives the same file."
    ),
    words="LABELS [flags]",
    schema=SCHEMA,
)


def run(options: Options) -> None:
    from datamodules import formats
    from preparation.babble import write_babble

    asked = options.babble
    path = formats.find(asked.labels, asked.root_dir)
    own = {name.removeprefix("formats/"): values for name, values in options.plugins.items()}
    utterances = formats.read(path, asked.root_dir, ("audio",), own)
    out = asked.out or asked.root_dir / "babble.wav"
    write_babble(utterances, out, voices=asked.voices, seconds=asked.seconds, seed=asked.seed)
    print(f"{out}: {asked.seconds:g} s of {asked.voices} voices, out of {len(utterances)} clips of {path}")
