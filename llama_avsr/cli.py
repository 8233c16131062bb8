"""Running a program: its command line, logging, errors a person can read.

def main(argv: list[str]) -> None:
    parsed = cli.parse(argv, program="train")
    cli.setup_logging(parsed.options.run.debug)
    parsed.log_notes()
    ...  # the heavy imports, then the work

if __name__ == "__main__":
    cli.run(main)
"""

from __future__ import annotations

import logging
import os
import sys
import warnings
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from llama_avsr.boundary import program_called, rank, run
from llama_avsr.faults import OWN as OWN_LOGGERS
from llama_avsr.faults import is_own
from llama_avsr.options import parser
from llama_avsr.options.checks import missing_at_start, missing_values, problems, unused, without_effect
from llama_avsr.options.config_file import write_config
from llama_avsr.options.fields import TESTING
from llama_avsr.options.groups import SCHEMA
from llama_avsr.options.help_text import help_text
from llama_avsr.options.parser import COMMAND_LINE
from llama_avsr.options.programs import PROGRAMS, Program

LOGGER = logging.getLogger(__name__)
__all__ = ["Parsed", "parse", "run", "setup_logging"]

NOISY_WARNINGS = (
    r".*does not have many workers which may be a bottleneck",
    r"The number of training batches .* is smaller than the logging interval",
    r"Checkpoint directory .* exists and is not empty",
    r"Found \d+ module\(s\) in eval mode at the start of training",
    r"`isinstance\(treespec, LeafSpec\)` is deprecated",
    r"Support for mismatched key_padding_mask and attn_mask is deprecated",
)
"""Advice that does not hold here (workers, logging, folders and frozen modules are ours to choose), and what
libraries tell each other."""


@dataclass(frozen=True, kw_only=True)
class Parsed:
    """What a command line says."""

    options: Any
    """`Options`, or what the program's schema makes."""
    sources: dict[str, str]
    """Option -> `command line` or `file:line`, for those that were set."""
    notes: tuple[str, ...]
    """Flags without effect, and the like: for the log."""

    @property
    def explicit(self) -> frozenset[str]:
        """Options that the user set, here or in a config file."""
        return frozenset(self.sources)

    def log_notes(self) -> None:
        for note in self.notes:
            LOGGER.info(note)


def parse(argv: Sequence[str], program: str | Program, called: str | None = None) -> Parsed:
    """Options of a command line. Opens config files and nothing else.

    program: `train`, `eval`, `transcribe`, or the description of another one.
    called: how the user called it, for --help.
    --help and --print-config print and leave through SystemExit(0). Options of `train` come out checked
    and complete; those of `eval` and `transcribe` wait for `merge_with_checkpoint`, but name a model and
    what to use it on.
    Raises ValueError for what the user should correct.
    """
    program = PROGRAMS[program] if isinstance(program, str) else program
    called = called or program_called()
    command = parser.read(argv, program.schema, program.name)
    if command.help is not None:
        print(help_text(program, called, command.help == "help_all"), end="")
        sys.exit(0)
    base = program.default_options()
    given = {name: value for name, (value, _) in command.values.items()}
    options = program.schema.updated(base, given)
    # An unset option in a config file (null) says nothing; on the command line it does.
    sources = {
        name: source
        for name, (value, source) in command.values.items()
        if value is not None or program.schema.get(base, name) is not None or source == COMMAND_LINE
    }
    faults, notes = _faults(options, sources, program)
    if command.prints_config:
        _print_config(options, sources, program, called, [*faults, *notes])
    if faults:
        raise ValueError("\n".join(faults))
    # Evaluation notes what its flags do not do when it knows the checkpoint.
    return Parsed(options=options, sources=sources, notes=() if program.has_checkpoint else tuple(notes))


def _faults(options: Any, sources: Collection[str], program: Program) -> tuple[list[str], list[str]]:
    """What must be corrected, and what is worth a note."""
    if program.schema is not SCHEMA:
        lacking = missing_values(program.schema, options, program.name)
        return [*lacking, *program.check(options)], without_effect(program.schema, options, sources)
    lacking = missing_at_start(options, program.name)
    faults = lacking if program.has_checkpoint else [*problems(options, program.name), *lacking]
    return faults, unused(options, sources, program.name)


def setup_logging(debug: bool = False) -> None:
    """Our messages from INFO (DEBUG with `debug`), those of libraries from WARNING (INFO), to stderr.

    Of several processes only the first says more than warnings. Call before the heavy imports.
    """
    own, others = (logging.DEBUG, logging.INFO) if debug else (logging.INFO, logging.WARNING)
    if rank() > 0 and not debug:
        own = others = logging.WARNING
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s", "%H:%M:%S"))
    handler.addFilter(lambda record: record.levelno >= (own if is_own(record.name) else others))
    logging.basicConfig(handlers=[handler], level=others, force=True)
    for name in OWN_LOGGERS:
        logging.getLogger(name).setLevel(own)
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    if not debug:
        os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
        # It advises, whenever peft imports it, on kernels that are not used here.
        logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
        for message in NOISY_WARNINGS:
            warnings.filterwarnings("ignore", message=message)


def _print_config(
    options: Any, sources: dict[str, str], program: Program, called: str, remarks: Sequence[str]
) -> NoReturn:
    schema = program.schema
    hidden = {name for name, field in schema.fields.items() if field.scope.fixed and name not in sources}
    left_out = {
        name
        for name, field in schema.fields.items()
        if not any(field.scope.counts_in(name) for name in (program.name, *TESTING))
    }
    header = [f"{called} --config this_file", *remarks]
    from_checkpoint = hidden if program.has_checkpoint else ()
    print(write_config(options, sources, header, from_checkpoint, left_out, schema), end="")
    sys.exit(0)
