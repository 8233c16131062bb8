"""What is known of each option, read off its one declaration.

    @group(programs=TRAINING)
    class TrainingOptions:
        \"\"\"Training\"\"\"

        lr: PositiveFloat = 1e-3
        \"\"\"Peak learning rate of AdamW.\"\"\"
        encoder_unfreeze_step: NonNegativeInt | None = option(None, fixed=True)
        \"\"\"...\"\"\"

The annotation says what a value may be (`options.values`), the docstring is the flag's help, and `option`
says where it counts; what it leaves open, the group's decorator says.
"""

from __future__ import annotations

import ast
import dataclasses
import inspect
import itertools
import sys
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

from typing_extensions import dataclass_transform  # typing has it since 3.11

from llama_avsr.options import values

PROGRAMS = ("train", "eval", "transcribe")
TRAINING = ("train",)
"""Programs in which an option counts that training alone reads."""
TESTING = ("train", "eval")
"""Of an option for tests on label files: training ends with one."""
DECODING = ("eval", "transcribe")
FACES = ("transcribe", *(f"prepare {name}" for name in ("folder", "lrs2", "lrs3", "vox2", "crop")))
"""Of an option for programs that find faces in videos."""
SCOPE = "scope"
T = TypeVar("T")


@dataclass(frozen=True)
class Scope:
    """Where an option counts."""

    programs: Collection[str] | None = None
    """None: in every program whose schema holds it."""
    fixed: bool = False
    """It defines the model: a checkpoint settles it, and a flag that says otherwise is an error."""
    may_differ: bool = False
    """... but it only says where something lies, or how it is found: another value is taken."""
    needed_by: Collection[str] = ()
    """Programs that cannot do without."""
    required: bool = False
    """No program can."""
    when: Callable[[Any], bool] | None = None
    """Options -> whether it counts, once the modality is known; None: always."""
    positional: bool = False
    """Words without a flag go here."""
    private: bool = False
    """It tells of a machine or its owner, and nothing of the model: left out of what is published."""
    whole_words: bool = False
    """Of a list: each word is one value, whatever commas it has, and a flag that is repeated adds its own."""
    flag: str | None = None
    """The published spelling, where it is not the name with hyphens."""
    aliases: Collection[str] = ()
    """Other names of the option."""

    def counts_in(self, program: str) -> bool:
        return self.programs is None or program in self.programs

    def is_needed_by(self, program: str) -> bool:
        return self.required or program in self.needed_by


@dataclass(frozen=True)
class Field:
    """One option."""

    name: str
    group: str
    """Of the set of options that holds it."""
    hint: Any
    default: Any
    help: str
    scope: Scope

    @property
    def flag(self) -> str:
        return self.scope.flag or f"--{self.name.replace('_', '-')}"

    @property
    def is_bool(self) -> bool:
        return self.hint in (bool, bool | None)

    def convert(self, value: Any, where: str = "") -> Any:
        """Checked value. Raises ValueError that begins with `where`, by default the flag."""
        try:
            return values.convert(self.hint, values.whole(value) if self.scope.whole_words else value)
        except ValueError as error:
            raise ValueError(f"{where or self.flag}: {str(error)[:1000]}") from None


def option(default: Any = None, **scope: Any) -> Any:
    """A field's default, and where the option counts (`Scope`) other than its group."""
    return dataclasses.field(default=default, metadata={SCOPE: scope})


@dataclass_transform(kw_only_default=True, frozen_default=True, field_specifiers=(option,))
def group(**scope: Any) -> Callable[[type[T]], type[T]]:
    """Make a class a group of options, which checks and converts its values.

    scope: where its options count (`Scope`), unless they say otherwise themselves.
    """

    def decorate(cls: type[T]) -> type[T]:
        cls.scope = scope
        cls.__post_init__ = _check_values
        return dataclass(frozen=True, kw_only=True)(cls)

    return decorate


def fields_of(
    cls: type, name: str, scope: Mapping[str, Any] | None = None, source: Source | None = None
) -> dict[str, Field]:
    """The options of a group, in the order of declaration.

    name: the group's. scope: in place of its decorator's. source: where its text and types are, for a class
    whose module has not been imported.
    """
    source = source or Source.of_module(cls.__module__)
    hints = get_type_hints(cls, source.namespace, include_extras=True)
    helps = _docstrings(source.tree, cls.__name__)
    shared = getattr(cls, SCOPE, {}) if scope is None else scope
    return {
        field.name: Field(
            name=field.name,
            group=name,
            hint=hints[field.name],
            default=field.default,
            help=helps.get(field.name, ""),
            scope=Scope(**{**shared, **field.metadata.get(SCOPE, {})}),
        )
        for field in dataclasses.fields(cls)
    }


@dataclass(frozen=True)
class Source:
    """Where a class was declared."""

    tree: ast.Module
    namespace: dict[str, Any]

    @classmethod
    def of_module(cls, name: str) -> Source:
        module = sys.modules[name]
        return cls(ast.parse(Path(module.__file__).read_text(encoding="utf-8")), vars(module))


def canonical(name: str) -> str:
    """One spelling for hyphens and underscores, upper and lower case."""
    return name.replace("-", "_").lower()


def _check_values(self: Any) -> None:
    """`__post_init__` of every group: types and ranges, named by flag; lists become tuples."""
    cls = type(self)
    if "_fields" not in vars(cls):
        cls._fields = fields_of(cls, cls.__name__)
    for name, field in cls._fields.items():
        object.__setattr__(self, name, field.convert(getattr(self, name)))


def _docstrings(tree: ast.Module, class_name: str) -> dict[str, str]:
    """Field -> the string literal below it, white space folded."""
    (body,) = (n.body for n in tree.body if isinstance(n, ast.ClassDef) and n.name == class_name)
    return {
        before.target.id: " ".join(inspect.cleandoc(after.value.value).split())
        for before, after in itertools.pairwise(body)
        if isinstance(before, ast.AnnAssign) and _is_text(after)
    }


def _is_text(node: ast.stmt) -> bool:
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )
