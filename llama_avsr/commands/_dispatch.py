"""Commands that are files of a folder: listing them, and running the one that the first word names.

A file declares `PROGRAM`, its command line, and `run(options)`, which returns the exit status (None is
0). The first line of its docstring is its line in the list. A folder in the folder is a command with
steps, which offers `main(argv, called)` as its parent does.
"""

from __future__ import annotations

import ast
import importlib.util
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from datamodules import registry
from llama_avsr.boundary import USERS, code_of, program_called, program_name

if TYPE_CHECKING:
    from llama_avsr.options.programs import Program


def dispatch(package: str, argv: Sequence[str], called: str | None = None) -> int:
    """Run a command of `package` and return its exit status, or that of `llama_avsr.boundary`.

    called: how the user called the program, for --help.
    """
    called = called or program_called()
    if not argv or argv[0] in ("-h", "--help"):
        print(usage(package, called))
        return 0 if argv else USERS
    name, *rest = argv
    return code_of(lambda: _run(package, name, rest, f"{called} {name}"), program_name(), "--debug" in rest)


def _run(package: str, name: str, argv: Sequence[str], called: str) -> int:
    module = registry.load(package, name)
    if hasattr(module, "PROGRAM"):
        return run_program(module.PROGRAM, module.run, argv, called)
    return module.main(argv, called)


def run_program(
    program: Program, run: Callable[[Any], int | None], argv: Sequence[str], called: str | None = None
) -> int:
    """Parse a command line, set logging up and run; the exit status, with errors in words."""
    called = called or program_called()

    def work() -> int | None:
        from llama_avsr import cli  # not needed to list commands

        parsed = cli.parse(argv, program, called)
        cli.setup_logging(program.schema.get(parsed.options, "debug"))
        parsed.log_notes()
        return run(parsed.options)

    return code_of(work, called.removeprefix("python ").removeprefix("-m "), "--debug" in argv)


def usage(package: str, called: str) -> str:
    """What `--help` prints. Imports none of the commands."""
    folder = Path(importlib.util.find_spec(package).origin).parent
    commands = {name: _summary(folder, registry.module_name(name)) for name in registry.names(package)}
    width = max(map(len, commands))
    lines = [f"usage: {called} COMMAND ...", "", _first_line(folder / "__init__.py"), "", "commands:"]
    lines += [f"  {name:{width}}  {summary}" for name, summary in commands.items()]
    return "\n".join([*lines, "", f"{called} COMMAND --help describes a command and its flags."])


def _summary(folder: Path, module: str) -> str:
    path = folder / f"{module}.py"
    return _first_line(path if path.is_file() else folder / module / "__init__.py")


def _first_line(path: Path) -> str:
    return ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))).partition("\n")[0]
