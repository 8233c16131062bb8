"""Evaluate again what a results folder says of itself, and say what differs."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from llama_avsr import cli
from llama_avsr.options.common import LoggingOptions
from llama_avsr.options.fields import group, option
from llama_avsr.options.programs import Program
from llama_avsr.options.schema import Schema

DIFFERENT = 1
"""Exit status where hypotheses or scores are others."""


@group()
class ReproduceOptions:
    """Reproduction"""

    result: Path | None = option(None, positional=True, required=True)
    """A results folder, which holds origin.json."""
    output_dir: Path | None = None
    """Folder for the new results. Default: `again` in RESULT."""
    pretrained_model_path: Path | None = None
    """The model, where it does not lie where origin.json says."""
    root_dir: Path | None = None
    """Folder of the data set, where it lies elsewhere."""
    noise_file: tuple[str, ...] | None = option(None, whole_words=True)
    """The noise, where it lies elsewhere."""
    test_noise: tuple[str, ...] | None = option(None, whole_words=True)
    """The same of a result that was made with --test-noise."""
    accelerator: Literal["auto", "cpu", "gpu"] | None = None
    """Device to compute on. Default: as before."""


@dataclass(frozen=True, kw_only=True)
class Options:
    reproduce: ReproduceOptions = field(default_factory=ReproduceOptions)
    logging: LoggingOptions = field(default_factory=LoggingOptions)


PROGRAM = Program(
    name="reproduce",
    title=(
        "Evaluate again with the options, model and data of a results folder, and say what differs: program, "
        "packages, files, scores, hypotheses. Exits with 1 where something does."
    ),
    examples="""\
  {program} runs/a/results/average/test
  {program} theirs/test --root-dir DATA --pretrained-model-path user/model
""",
    words="RESULT [flags]",
    schema=Schema(Options),
)


def main(argv: list[str]) -> int:
    parsed = cli.parse(argv, PROGRAM)
    cli.setup_logging(parsed.options.logging.debug)
    return run(parsed.options.reproduce)


def run(asked: ReproduceOptions) -> int:
    """Raises ValueError for a folder that is no result."""
    from llama_avsr.evaluation.reproduce import reproduce  # heavy

    names = ("pretrained_model_path", "root_dir", "noise_file", "test_noise", "accelerator")
    changes = {name: value for name in names if (value := getattr(asked, name)) is not None}
    found = reproduce(asked.result, changes, asked.output_dir)
    print(f"{asked.result}: {'the same' if not found else 'these differ'}")
    for line in found:
        print(f"  {line}")
    return DIFFERENT if found else 0
