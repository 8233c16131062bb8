"""Make, convert or check data sets.

One file of this folder is one command; the file's name is the command's. It offers `HELP` (a line),
`DESCRIPTION` (what `COMMAND --help` says), `add_arguments(parser)` and `run(arguments)`, which returns the
exit status (None is 0). It imports nothing heavy before `run`: `prepare_data.py --help` imports all of them.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from datamodules import registry
from llama_avsr.boundary import code_of

COMMANDS = "llama_avsr.commands.prepare"


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; the exit status is 0, the command's own, or that of `llama_avsr.boundary`."""
    parser = _parser()
    arguments = parser.parse_args(argv)
    name = f"{parser.prog} {arguments.command}"
    return code_of(lambda: arguments.run(arguments), name, arguments.debug)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="prepare_data.py", description=__doc__.split("\n")[0], allow_abbrev=False
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name in registry.names(COMMANDS):
        module = registry.load(COMMANDS, name)
        command = commands.add_parser(
            name, help=module.HELP, description=module.DESCRIPTION, allow_abbrev=False
        )
        module.add_arguments(command)
        command.add_argument("--debug", action="store_true", help="show the traceback of an error")
        command.set_defaults(run=module.run)
    return parser
