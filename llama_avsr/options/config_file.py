"""Options as YAML: `--config FILE.yaml` in, `--print-config` out."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from llama_avsr.options import recipes, safe_yaml
from llama_avsr.options.fields import canonical
from llama_avsr.options.groups import SCHEMA
from llama_avsr.options.schema import Schema
from llama_avsr.options.values import plain


def read_config(path: Path, schema: Schema = SCHEMA) -> dict[str, tuple[Any, str]]:
    """Option -> (value, `file:line`). Keys stand alone or in their groups, in any spelling of the flag.

    Raises ValueError with file and line for an unknown or repeated key, a wrong value, broken YAML.
    """
    found: dict[str, tuple[Any, str]] = {}
    for key, value, where in _entries(recipes.located(path), schema):
        field = schema.by_spelling.get(canonical(key.removeprefix("--")))
        if field is None:
            raise ValueError(f"{where}: unknown option {key!r}{_closest(key, schema)}")
        if field.name in found:
            raise ValueError(f"{where}: {key} is set a second time, first at {found[field.name][1]}")
        found[field.name] = (field.convert(value, f"{where}: {key}"), where)
    return found


def write_config(
    options: Any,
    sources: Mapping[str, str],
    header: Collection[str],
    from_checkpoint: Collection[str] = (),
    left_out: Collection[str] = (),
    schema: Schema = SCHEMA,
) -> str:
    """YAML that `read_config` reads back.

    sources: option -> where it was set, written beside it.
    header: lines of comment at the top.
    from_checkpoint: options written as comments, because a checkpoint will decide them.
    left_out: options that are not written.
    """
    lines = [f"# {line}" for line in header]
    for group in schema.groups:
        names = [name for name in group.fields if name not in left_out]
        if names:
            lines += ["", f"{group.name}:"]
        for name in names:
            entry = _entry(name, schema.get(options, name), sources)
            lines.append(f"  # {entry} (from the checkpoint)" if name in from_checkpoint else f"  {entry}")
    return "\n".join(lines) + "\n"


def _entries(path: Path, schema: Schema) -> Iterator[tuple[str, Any, str]]:
    """(key, value, `file:line`) of every option, groups opened."""
    try:
        loader, root = safe_yaml.compose(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ValueError(f"--config {path}: cannot be read ({error.strerror})") from None
    except UnicodeDecodeError:
        raise ValueError(f"--config {path}: not YAML: found other bytes than UTF-8") from None
    except ValueError as error:
        raise ValueError(f"--config {path}: {error}") from None
    if root is not None:
        yield from _pairs(loader, root, path, {canonical(group.name) for group in schema.groups})


def _pairs(
    loader: yaml.SafeLoader, node: yaml.Node, path: Path, groups: Collection[str]
) -> Iterator[tuple[str, Any, str]]:
    if not isinstance(node, yaml.MappingNode):
        raise ValueError(f"{path}:{node.start_mark.line + 1}: expected `option: value` lines")
    try:
        loader.flatten_mapping(node)
    except yaml.YAMLError as error:
        where = f"{path}:{node.start_mark.line + 1}"
        raise ValueError(f"{where}: {' '.join(str(error).split())[:300]}") from None
    for key_node, value_node in node.value:
        where = f"{path}:{key_node.start_mark.line + 1}"
        if not isinstance(key_node, yaml.ScalarNode):
            raise ValueError(f"{where}: expected the name of an option, found a list or a table")
        key = key_node.value[:80]
        if canonical(key) in groups:
            if value_node.value:
                yield from _pairs(loader, value_node, path, ())
        else:
            try:
                value = safe_yaml.construct(loader, value_node)
            except ValueError as error:
                raise ValueError(f"{where}: {key}: {error}") from None
            yield key, value, where


def _entry(name: str, value: Any, sources: Mapping[str, str]) -> str:
    text = yaml.safe_dump(plain(value), default_flow_style=True, width=float("inf"))
    origin = f"  # {sources[name]}" if name in sources else ""
    return f"{name}: {text.removesuffix('...' + chr(10)).strip()}{origin}"


def _closest(key: str, schema: Schema) -> str:
    names = {canonical(group.name): group.name for group in schema.groups}
    names |= {key: field.name for key, field in schema.by_spelling.items()}
    close = difflib.get_close_matches(canonical(key), names, n=1)
    return f"; did you mean {names[close[0]]}?" if close else "; --help lists all"
