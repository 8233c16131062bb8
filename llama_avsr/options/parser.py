"""From a command line to options. `llama_avsr.cli.parse` is what programs call.

Not argparse: it takes `-5,0` for a flag, and does not tell a default from a value that was set,
which evaluation must know.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llama_avsr.options.config_file import read_config
from llama_avsr.options.fields import Field, canonical
from llama_avsr.options.schema import Schema
from llama_avsr.options.values import FALSE_WORDS, TRUE_WORDS, describe, is_list, whole

COMMAND_LINE = "command line"


@dataclass(frozen=True)
class Command:
    """What a command line says, word by word."""

    values: dict[str, tuple[Any, str]]
    """Option -> (value, where it was set): `command line` or `file:line`; the last one that counts."""
    help: str | None = None
    """`help` or `help_all`, where the user asked for it."""
    prints_config: bool = False


def read(argv: Sequence[str], schema: Schema, program: str) -> Command:
    """Opens config files and nothing else. Raises ValueError for words that are wrong.

    program: whose positional options count.
    Words without a flag are values of the positional options: they stand before the flags, after a flag's one
    value, or after `--`.
    """
    found: dict[str, tuple[Any, str]] = {}
    configs: list[Path] = []
    prints_config = False
    fields = schema.fields.values()
    positional = [f for f in fields if f.scope.positional and f.scope.counts_in(program)]
    loose: list[str] | None = [] if positional else None
    for flag, texts in _words(argv, schema, loose):
        spelling = canonical(flag.lstrip("-"))
        if spelling in ("help", "h", "help_all"):
            return Command({}, help="help" if spelling == "h" else spelling)
        if spelling == "print_config":
            prints_config = _bool_value(flag, texts)
        elif spelling == "config":
            if not texts:
                raise ValueError("--config needs a value: a YAML file")
            configs += [Path(text).expanduser() for text in texts]
        else:
            field, value = _set(flag, spelling, texts, schema)
            if field.scope.whole_words and field.name in found:
                value = (*found[field.name][0], *value)
            found[field.name] = (value, COMMAND_LINE)
    found |= {name: (value, COMMAND_LINE) for name, value in _positionals(loose or [], positional)}
    from_files: dict[str, tuple[Any, str]] = {}
    for config in configs:
        from_files |= read_config(config, schema)
    return Command(from_files | found, prints_config=prints_config)


def _positionals(words: list[str], fields: Sequence[Field]) -> Iterator[tuple[str, Any]]:
    """(option, value): one word each in the order of declaration, a list takes all that are left."""
    words = list(words)
    for field in fields:
        if not words:
            return
        taken = words if is_list(field.hint) else words[:1]
        words = words[len(taken) :]
        value = whole(taken) if is_list(field.hint) else taken[0]
        yield field.name, field.convert(value, field.name.upper())
    if words:
        raise ValueError(f"unexpected {words[0]!r}: every further value follows a flag (--help lists them)")


def _words(argv: Sequence[str], schema: Schema, loose: list[str] | None) -> Iterator[tuple[str, list[str]]]:
    """(flag, the words after it). loose: gets the words that are no flag's; None where there must be none."""
    flag, texts, is_closed = None, [], False
    for index, word in enumerate(argv):
        if loose is not None and word == "--":
            loose += argv[index + 1 :]
            break
        if word == "-h" or (word.startswith("--") and len(word) > 2):
            if flag is not None:
                yield flag, texts
            flag, equals, value = word.partition("=")
            texts, is_closed = [value] if equals else [], bool(equals)
        elif flag is not None and (loose is None or (not is_closed and _takes(flag, texts, word, schema))):
            texts.append(word)
        elif loose is not None:
            loose.append(word)
        else:
            raise ValueError(f"unexpected {word!r}: every value follows a flag (--help lists them)")
    if flag is not None:
        yield flag, texts


def _takes(flag: str, texts: list[str], word: str, schema: Schema) -> bool:
    """Whether a flag that has the values `texts` goes on with `word`."""
    spelling = canonical(flag.lstrip("-"))
    field = schema.by_spelling.get(spelling)
    if field is None:  # --help, --no-x, or one that is unknown
        return spelling == "config" and not texts
    if field.is_bool:
        return not texts and word.lower() in (*TRUE_WORDS, *FALSE_WORDS)
    return is_list(field.hint) or not texts


def _set(flag: str, spelling: str, texts: list[str], schema: Schema) -> tuple[Field, Any]:
    field = schema.by_spelling.get(spelling)
    if field is None:
        positive = schema.by_spelling.get(spelling.removeprefix("no_"))
        if positive is None or not positive.is_bool:
            raise ValueError(f"unknown flag {flag}{_closest(spelling, schema)}")
        if texts:
            raise ValueError(f"{flag} takes no value, found {' '.join(texts)!r}")
        return positive, False
    if field.is_bool and not texts:
        return field, True
    if not texts:
        raise ValueError(f"{flag} needs a value: {describe(field.hint)}")
    if is_list(field.hint):
        return field, field.convert(texts if len(texts) > 1 else texts[0], flag)
    if len(texts) > 1:
        joined = " ".join(texts)
        raise ValueError(
            f"{flag} takes one value, found {len(texts)}; quotes keep words together: '{joined}'"
        )
    return field, field.convert(texts[0], flag)


def _bool_value(flag: str, texts: list[str]) -> bool:
    if len(texts) > 1 or (texts and texts[0].lower() not in ("true", "false")):
        raise ValueError(f"{flag} takes no value, found {' '.join(texts)!r}")
    return not texts or texts[0].lower() == "true"


def _closest(spelling: str, schema: Schema) -> str:
    flags = {key: field.flag for key, field in schema.by_spelling.items()}
    bools = {key: field.flag for key, field in schema.by_spelling.items() if field.is_bool}
    flags |= {f"no_{key}": f"--no-{flag[2:]}" for key, flag in bools.items()}
    flags |= {"config": "--config", "print_config": "--print-config", "help": "--help"}
    close = difflib.get_close_matches(spelling, flags, n=1)
    return f"; did you mean {flags[close[0]]}?" if close else "; --help lists all"
