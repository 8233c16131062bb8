"""Make, convert or check data sets; `prepare_data.py COMMAND --help` explains each command."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from llama_avsr import cli, registry

COMMANDS = "preparation.commands"


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; the exit status is 0, the command's own, or 2 for an error that the user can mend."""
    parser = _parser()
    arguments = parser.parse_args(argv)
    try:
        return arguments.run(arguments) or 0
    except (ValueError, OSError, ModuleNotFoundError) as error:
        print(f"{parser.prog} {arguments.command}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"{parser.prog} {arguments.command}: interrupted", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="prepare_data.py", description=__doc__.split(";")[0] + ".", allow_abbrev=False
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name in registry.names(COMMANDS):
        module = registry.load(COMMANDS, name)
        command = commands.add_parser(
            name, help=module.HELP, description=module.DESCRIPTION, allow_abbrev=False
        )
        module.add_arguments(command)
        command.set_defaults(run=module.run)
    return parser


if __name__ == "__main__":
    cli.setup_logging()
    sys.exit(main())
