"""Export the adapters or the merged LLM of a checkpoint, for use without this project."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from llama_avsr import cli
from llama_avsr.options.common import LoggingOptions
from llama_avsr.options.fields import group, option
from llama_avsr.options.programs import Program
from llama_avsr.options.schema import Schema


@group()
class ExportOptions:
    """Export"""

    what: Literal["adapters", "merge"] | None = option(None, positional=True, required=True)
    """What to export: `adapters` writes PEFT's own format, `merge` a plain Hugging Face folder."""
    checkpoint: str | None = option(None, positional=True, required=True)
    """A checkpoint folder, the folder of a run, or a name on the hub."""
    out_dir: Path | None = option(None, positional=True, required=True)
    """Folder to write to."""
    llm_model: str | None = None
    """The pretrained LLM, as a hub name or folder. Default: where the checkpoint says."""


@dataclass(frozen=True, kw_only=True)
class Options:
    export: ExportOptions = field(default_factory=ExportOptions)
    logging: LoggingOptions = field(default_factory=LoggingOptions)


PROGRAM = Program(
    name="export",
    title="Export the language model of a checkpoint, for use without this project.",
    examples="""\
  {program} adapters runs/first adapters
  {program} merge runs/first merged --llm-model ~/Llama-3.2-1B
""",
    words="{adapters,merge} CHECKPOINT OUT_DIR [flags]",
    schema=Schema(Options),
)


def main(argv: list[str]) -> None:
    parsed = cli.parse(argv, PROGRAM)
    cli.setup_logging(parsed.options.logging.debug)
    run(parsed.options.export)


def run(asked: ExportOptions) -> None:
    """Write the files and list them. Raises ValueError for a published file, and what has no adapters."""
    from llama_avsr.checkpoints.export import export_adapters, export_merged  # heavy
    from llama_avsr.checkpoints.source import Checkpoint, find_source

    source = find_source(asked.checkpoint)
    if not isinstance(source, Checkpoint):
        raise ValueError(f"{asked.checkpoint}: a published file; convert it first: llama-avsr convert")
    export = {"adapters": export_adapters, "merge": export_merged}[asked.what]
    export(source.folder, asked.out_dir, asked.llm_model)
    for file in sorted(path for path in asked.out_dir.rglob("*") if path.is_file()):
        print(f"{file.stat().st_size / 1e6:10.2f} MB  {file}")


if __name__ == "__main__":
    cli.run(main, sys.argv[1:])
