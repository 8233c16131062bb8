"""What is known of each option: its flag, type, default and help, read off its one declaration."""

from __future__ import annotations

import ast
import dataclasses
import functools
import inspect
import itertools
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_type_hints

from llama_avsr.options import values

UNDERSCORED = ("add_PETF_LLM", "reduction_lora", "unfrozen_modules")
"""Published with underscores; every flag takes both."""


@dataclass(frozen=True)
class Field:
    """One option."""

    name: str
    group: str
    """Attribute of Options that holds it."""
    hint: Any
    default: Any
    help: str

    @property
    def flag(self) -> str:
        return flag_of(self.name)

    @property
    def is_bool(self) -> bool:
        return self.hint is bool

    def convert(self, value: Any, where: str = "") -> Any:
        """Checked value. Raises ValueError that begins with `where`, by default the flag."""
        try:
            return values.convert(self.hint, value)
        except ValueError as error:
            raise ValueError(f"{where or self.flag}: {str(error)[:1000]}") from None


def flag_of(name: str) -> str:
    """`lora_rank` -> `--lora-rank`."""
    return f"--{name if name in UNDERSCORED else name.replace('_', '-')}"


def canonical(name: str) -> str:
    """One spelling for hyphens and underscores, upper and lower case."""
    return name.replace("-", "_").lower()


def fields_of(options_class: type) -> dict[str, Field]:
    """Every option of the groups of `options_class`, by name, in the order of declaration."""
    return {name: field for group in groups_of(options_class) for name, field in _read(group).items()}


def groups_of(options_class: type) -> list[tuple[str, type]]:
    """(attribute, class) of every group, in order."""
    hints = _hints(options_class)
    return [(field.name, hints[field.name]) for field in dataclasses.fields(options_class)]


def check_fields(self: Any) -> None:
    """Used as `__post_init__` of every group: types and ranges, named by flag; lists become tuples."""
    for name, field in _read(("", type(self))).items():
        object.__setattr__(self, name, field.convert(getattr(self, name)))


@functools.cache
def _read(group: tuple[str, type]) -> dict[str, Field]:
    attribute, cls = group
    hints, helps = _hints(cls), _docstrings(cls)
    return {
        field.name: Field(field.name, attribute, hints[field.name], field.default, helps.get(field.name, ""))
        for field in dataclasses.fields(cls)
    }


@functools.cache
def _hints(cls: type) -> dict[str, Any]:
    return get_type_hints(cls, include_extras=True)


def _docstrings(cls: type) -> dict[str, str]:
    """Field -> the string literal below it, white space folded."""
    (body,) = (node.body for node in _syntax(cls.__module__).body if _is_class(node, cls.__name__))
    return {
        before.target.id: " ".join(inspect.cleandoc(after.value.value).split())
        for before, after in itertools.pairwise(body)
        if isinstance(before, ast.AnnAssign) and _is_text(after)
    }


@functools.cache
def _syntax(module: str) -> ast.Module:
    return ast.parse(Path(sys.modules[module].__file__).read_text(encoding="utf-8"))


def _is_class(node: ast.stmt, name: str) -> bool:
    return isinstance(node, ast.ClassDef) and node.name == name


def _is_text(node: ast.stmt) -> bool:
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )
