"""Options that plug-ins declare, read without importing them: their modules import torch and the like.

A plug-in's file may hold a plain dataclass `Options`: its docstring is the title in --help, the docstrings
below its fields are the flags' help. Of the file only that class runs, and what it imports from the standard
library and from `llama_avsr.options`.
"""

from __future__ import annotations

import ast
import importlib.util
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from datamodules import registry
from llama_avsr.options.fields import FACES, TESTING, Field, Source, fields_of

CLASS = "Options"
LIGHT = ("__future__", "collections", "dataclasses", "enum", "pathlib", "typing", "llama_avsr.options")
KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "tasks": ("llama_avsr.tasks", {"fixed": True}),
    "encoders": ("llama_avsr.encoders", {"fixed": True}),
    "compressors": ("llama_avsr.compressors", {"fixed": True}),
    "formats": ("datamodules.formats", {"programs": (*TESTING, "prepare validate", "prepare convert")}),
    "detectors": ("preparation.faces.detectors", {"programs": FACES}),
}
"""Kind of plug-in -> its package, and where its options count."""


@dataclass(frozen=True)
class PlugIn:
    """A plug-in with options of its own."""

    kind: str
    name: str
    title: str
    fields: dict[str, Field]

    @property
    def group(self) -> str:
        return f"{self.kind}/{self.name}"


@cache
def declared(*kinds: str) -> tuple[PlugIn, ...]:
    """The plug-ins of these kinds that have options of their own."""
    return tuple(plug_in for kind in kinds for plug_in in _declared(kind))


def package_of(kind: str) -> str:
    return KINDS[kind][0]


@cache
def constant(kind: str, plug_in: str, name: str) -> Any:
    """What a plug-in's file sets a name to, by a literal."""
    tree = ast.parse(_file(package_of(kind), registry.module_name(plug_in)).read_text(encoding="utf-8"))
    for node in tree.body:
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        if any(isinstance(target, ast.Name) and target.id == name for target in targets):
            return ast.literal_eval(node.value)
    raise ValueError(f"{kind}/{plug_in}: expected {name} to be set")


def _declared(kind: str) -> Iterator[PlugIn]:
    package, scope = KINDS[kind]
    for name in registry.names(package):
        found = _read(package, registry.module_name(name))
        if found is not None:
            cls, source = found
            fields = fields_of(cls, f"{kind}/{name}", scope, source)
            yield PlugIn(kind, name, cls.__doc__ or name, _when_chosen(fields, kind, name))


def _when_chosen(fields: dict[str, Field], kind: str, name: str) -> dict[str, Field]:
    """The options of a plug-in count where it is chosen (`chooses` of the set of options); in a set that
    chooses nothing, always: the suffixes of label files choose their formats."""

    def chosen(options: Any) -> bool:
        return not hasattr(options, "chooses") or options.chooses(kind, name)

    return {
        key: replace(field, scope=replace(field.scope, when=field.scope.when or chosen))
        for key, field in fields.items()
    }


def _read(package: str, module: str) -> tuple[type, Source] | None:
    """The class `Options` of a module, made without importing the module."""
    path = _file(package, module)
    tree = ast.parse(path.read_text(encoding="utf-8"), str(path))
    if not any(isinstance(node, ast.ClassDef) and node.name == CLASS for node in tree.body):
        return None
    body = [node for node in tree.body if _is_light(node) or getattr(node, "name", None) == CLASS]
    # dataclasses look the module of a class up, which this one must not be: it has not been imported.
    namespace: dict[str, Any] = {"__name__": __name__}
    exec(compile(ast.Module(body, []), str(path), "exec"), namespace)
    return namespace[CLASS], Source(tree, namespace)


def _is_light(node: ast.stmt) -> bool:
    names = []
    if isinstance(node, ast.Import):
        names = [alias.name for alias in node.names]
    elif isinstance(node, ast.ImportFrom):
        names = [node.module or ""]
    return bool(names) and all(f"{name}.".startswith(tuple(f"{light}." for light in LIGHT)) for name in names)


def _file(package: str, module: str) -> Path:
    for folder in importlib.util.find_spec(package).submodule_search_locations:
        for path in (Path(folder, f"{module}.py"), Path(folder, module, "__init__.py")):
            if path.is_file():
                return path
    raise ModuleNotFoundError(f"no module {package}.{module}")
