"""Check a prepared data set for everything that training would fail on."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from llama_avsr.commands.prepare import _labels
from llama_avsr.commands.prepare._shared import WorkerOptions
from llama_avsr.options.common import LoggingOptions
from llama_avsr.options.fields import group, option
from llama_avsr.options.programs import Program
from llama_avsr.options.schema import Schema
from llama_avsr.options.values import NonNegativeInt


@group()
class ValidationOptions:
    """Validation"""

    labels: tuple[Path, ...] = option((), positional=True, required=True)
    """Label files: paths, or names in ROOT_DIR/labels."""
    root_dir: Path | None = option(None, required=True)
    """Root of the data set."""
    media: _labels.Media = ("audio", "video")
    """What the data set is to be used for."""
    deep: bool = False
    """Decode every frame of video. Default: only headers are read. Sound is always decoded."""
    silence_db: float = -60.0
    """Sound below this level, in dB of full scale, counts as silent."""
    fix: Path | None = None
    """Write the label file without the lines that have problems to this file. Of several label files: to this
    folder, where a clip that is in several of them stays in the last one."""
    json: Path | None = None
    """Write everything that was found to this JSON file."""
    examples: NonNegativeInt = 5
    """Number of lines to show for each kind of problem."""


@dataclass(frozen=True, kw_only=True)
class Options:
    validation: ValidationOptions = field(default_factory=ValidationOptions)
    running: WorkerOptions = field(default_factory=WorkerOptions)
    logging: LoggingOptions = field(default_factory=LoggingOptions)
    plugins: dict[str, dict[str, Any]] = field(default_factory=lambda: SCHEMA.plugin_defaults())


SCHEMA = Schema(Options, _labels.FORMATS)
PROGRAM = Program(
    name="prepare validate",
    title=(
        "Check label files and the media they name: lines that cannot be read, missing or broken media, "
        "lengths that differ from the label, silent sound, empty texts, duplicate clips within a label file "
        "or across those given (training and test). Prints statistics of lengths and texts. The exit status "
        "is 1 if there are problems, 0 if there are none."
    ),
    words="LABELS ... [flags]",
    schema=SCHEMA,
)


def run(options: Options) -> int:
    import json

    from datamodules import formats
    from datamodules.files import write_whole
    from preparation.labels import validate_report
    from preparation.labels.validate import validate, write_clean
    from preparation.labels.validate_media import MediaChecks

    asked = options.validation
    paths = [formats.find(path, asked.root_dir) for path in asked.labels]
    checks = MediaChecks(asked.media, asked.deep, asked.silence_db)
    prefixes = SCHEMA.get(options, "path_prefix")
    files = validate(paths, asked.root_dir, checks, options.running.num_workers, prefixes)
    for line in validate_report.lines(files, asked.examples):
        print(line)
    if asked.json is not None:
        report = json.dumps(validate_report.as_json(files), indent=2, ensure_ascii=False)
        write_whole(asked.json, report + "\n")
        print(f"all of it: {asked.json}")
    if asked.fix is not None:
        for path in write_clean(files, asked.fix):
            print(f"without those lines: {path}")
    return 1 if any(file.broken_lines for file in files) else 0
