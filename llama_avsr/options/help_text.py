"""The text of --help."""

from __future__ import annotations

import textwrap
from typing import Any

from llama_avsr.options.fields import Field
from llama_avsr.options.programs import Program
from llama_avsr.options.values import is_list, metavar

WIDTH = 92
UNBROKEN = 84
"""A tag shorter than this stays on one line."""
NO_BREAK = "\0"
USAGE = """\
Hyphens and underscores in flags are interchangeable. Booleans: --x, --x True, --x False, --no-x.
Lists: --x a b, or --x a,b. `none` unsets a flag.

  --config FILE      Read options from YAML; may be repeated. The last file wins, and the command
                     line over all files.
  --print-config     Print the resulting options as YAML, which --config reads, and exit.
  -h, --help         Print this help and exit.
"""
HELP_ALL = "  --help-all         Print the help of all flags, also those without effect here, and exit.\n"


def help_text(program: Program, called: str, all_flags: bool = False) -> str:
    """The flags of a program, in their groups. called: how the user called it (`python eval_LLM.py`)."""
    parts = [f"usage: {called} {program.words}", textwrap.fill(program.title, WIDTH, break_on_hyphens=False)]
    if program.examples:
        parts.append("Examples:\n" + program.examples.rstrip().format(program=called))
    parts.append(USAGE.rstrip() + ("\n" + HELP_ALL.rstrip() if program.has_checkpoint else ""))
    if program.note:
        parts.append(program.note.rstrip())
    options = program.default_options()
    order = [*program.leading, *(group.name for group in program.schema.groups)]
    groups = sorted(program.schema.groups, key=lambda group: order.index(group.name))
    for group in groups:
        shown = [field for field in group.fields.values() if all_flags or is_shown(field, program)]
        if shown:
            entries = [
                _entry(field, _tag(field, program.schema.get(options, field.name), program))
                for field in shown
            ]
            parts.append("\n".join([f"{group.title}:", *entries]))
    return "\n\n".join(parts) + "\n"


def is_shown(field: Field, program: Program) -> bool:
    """Whether --help shows a flag: it has an effect, and it is the user's to set and not the checkpoint's."""
    if not field.scope.counts_in(program.name):
        return False
    settled = program.has_checkpoint and field.scope.fixed
    return not settled or field.scope.may_differ or field.name in program.leading


def _entry(field: Field, tag: str) -> str:
    if field.scope.positional:
        head = f"  {field.name.upper()}" + (" ..." if is_list(field.hint) else "")
    elif field.is_bool:
        head = f"  {field.flag}, --no-{field.flag.removeprefix('--')}"
    else:
        head = f"  {field.flag} {metavar(field.hint)}"
    text = f"{field.help} {tag}".strip()
    indent = " " * 6
    lines = textwrap.wrap(
        text, WIDTH, initial_indent=indent, subsequent_indent=indent, break_on_hyphens=False
    )
    return "\n".join([head, *lines]).replace(NO_BREAK, " ")


def _tag(field: Field, default: Any, program: Program) -> str:
    """`[required]`, `[default: ...]`; short ones keep to one line."""
    if field.scope.is_needed_by(program.name):
        return "[required]"
    text = "as trained" if program.has_checkpoint and field.scope.fixed else _shown(default)
    tag = f"[default: {text}]" if text else ""
    return tag.replace(" ", NO_BREAK) if len(tag) < UNBROKEN else tag


def _shown(value: Any) -> str:
    if isinstance(value, tuple):
        return " ".join(_shown(item) for item in value)
    if isinstance(value, float):
        return f"{value:.6g}" if value < 1e5 else f"{value:.0f}"
    return "" if value is None else str(value)
