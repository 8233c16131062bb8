"""A set of options: a dataclass whose fields are groups, and the plug-ins that add theirs."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, get_type_hints

from llama_avsr.options.fields import Field, canonical, fields_of
from llama_avsr.options.plugins import PlugIn, declared

PLUGINS = "plugins"
"""The field of a set that holds the values of plug-ins: group -> option -> value."""


@dataclass(frozen=True)
class Group:
    """Options that --help and YAML show together."""

    name: str
    title: str
    fields: dict[str, Field]


@dataclass(frozen=True)
class Schema:
    """What a set of options holds.

    cls: a frozen dataclass of groups, each with defaults; with `plugins: dict[str, dict[str, Any]]` where
        plug-ins add options.
    kinds: the plug-ins that do.
    only: the options that can be set, where that is not all of them; the others keep their defaults.
    """

    cls: type
    kinds: tuple[str, ...] = ()
    only: frozenset[str] | None = None

    @cached_property
    def groups(self) -> list[Group]:
        hints = get_type_hints(self.cls)
        own = [field.name for field in dataclasses.fields(self.cls) if field.name != PLUGINS]
        groups = [Group(name, hints[name].__doc__, self._shown(fields_of(hints[name], name))) for name in own]
        return groups + [Group(p.group, p.title, self._shown(p.fields)) for p in self.plug_ins]

    def _shown(self, fields: dict[str, Field]) -> dict[str, Field]:
        return {name: field for name, field in fields.items() if self.only is None or name in self.only}

    @property
    def plug_ins(self) -> tuple[PlugIn, ...]:
        return declared(*self.kinds)

    @cached_property
    def fields(self) -> dict[str, Field]:
        """Every option by its name. Raises ValueError where two have the same."""
        return {field.name: field for field in self.by_spelling.values()}

    @cached_property
    def by_spelling(self) -> dict[str, Field]:
        found: dict[str, Field] = {}
        for group in self.groups:
            for name, field in group.fields.items():
                for spelling in (name, *field.scope.aliases):
                    other = found.setdefault(canonical(spelling), field)
                    if other is not field:
                        raise ValueError(f"{field.flag} is declared twice, in {other.group} and {group.name}")
        return found

    def plugin_defaults(self) -> dict[str, dict[str, Any]]:
        return {p.group: {name: f.convert(f.default) for name, f in p.fields.items()} for p in self.plug_ins}

    def get(self, options: Any, name: str) -> Any:
        """The value of an option."""
        group = self.fields[name].group
        plugins = getattr(options, PLUGINS, {})
        return plugins[group][name] if group in plugins else getattr(getattr(options, group), name)

    def updated(self, options: Any, values: Mapping[str, Any]) -> Any:
        """A copy with some options set anew. Raises ValueError, naming the flag, for a wrong value."""
        by_group: dict[str, dict[str, Any]] = {}
        for name, value in values.items():
            by_group.setdefault(self.fields[name].group, {})[name] = value
        plugins = dict(getattr(options, PLUGINS, {}))
        changed: dict[str, Any] = {}
        for group, new in by_group.items():
            if group in plugins:
                converted = {name: self.fields[name].convert(value) for name, value in new.items()}
                plugins[group] = plugins[group] | converted
            else:
                changed[group] = dataclasses.replace(getattr(options, group), **new)
        if plugins:
            changed[PLUGINS] = plugins
        return dataclasses.replace(options, **changed)
