"""Options as YAML: `--config FILE.yaml` in, `--print-config` out."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from llama_avsr.options import safe_yaml
from llama_avsr.options.fields import canonical
from llama_avsr.options.groups import BY_SPELLING, FIELDS, GROUPS, Options
from llama_avsr.options.values import plain

GROUP_NAMES = {canonical(name): name for name, _ in GROUPS}


def read_config(path: Path) -> dict[str, tuple[Any, str]]:
    """Option -> (value, `file:line`). Keys stand alone or in their groups, in any spelling of the flag.

    Raises ValueError with file and line for an unknown or repeated key, a wrong value, broken YAML.
    """
    found: dict[str, tuple[Any, str]] = {}
    for key, value, where in _entries(path):
        field = BY_SPELLING.get(canonical(key.removeprefix("--")))
        if field is None:
            raise ValueError(f"{where}: unknown option {key!r}{_closest(key)}")
        if field.name in found:
            raise ValueError(f"{where}: {key} is set a second time, first at {found[field.name][1]}")
        found[field.name] = (field.convert(value, f"{where}: {key}"), where)
    return found


def write_config(
    options: Options,
    sources: Mapping[str, str],
    header: Collection[str],
    from_checkpoint: Collection[str] = (),
    left_out: Collection[str] = (),
) -> str:
    """YAML that `read_config` reads back.

    sources: option -> where it was set, written beside it.
    header: lines of comment at the top.
    from_checkpoint: options written as comments, because a checkpoint will decide them.
    left_out: groups that are not written.
    """
    lines = [f"# {line}" for line in header]
    for group, _ in GROUPS:
        if group in left_out:
            continue
        lines += ["", f"{group}:"]
        entries = [_entry(name, options[name], sources) for name in FIELDS if FIELDS[name].group == group]
        hidden = [name in from_checkpoint for name in FIELDS if FIELDS[name].group == group]
        lines += [
            f"  # {entry} (from the checkpoint)" if hide else f"  {entry}"
            for entry, hide in zip(entries, hidden, strict=True)
        ]
    return "\n".join(lines) + "\n"


def _entries(path: Path) -> Iterator[tuple[str, Any, str]]:
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
        yield from _pairs(loader, root, path, inside_group=False)


def _pairs(
    loader: yaml.SafeLoader, node: yaml.Node, path: Path, inside_group: bool
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
        if canonical(key) in GROUP_NAMES and not inside_group:
            if value_node.value:
                yield from _pairs(loader, value_node, path, inside_group=True)
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


def _closest(key: str) -> str:
    close = difflib.get_close_matches(canonical(key), [*BY_SPELLING, *GROUP_NAMES], n=1)
    if not close:
        return "; --help lists all"
    return f"; did you mean {BY_SPELLING[close[0]].name if close[0] in BY_SPELLING else close[0]}?"
