"""What a flag's value may be: a field's annotation says how text is read, checked and described.

Understood: bool, int, float, str, Path, Literal, X | None, X | Y, tuple[X, ...], tuple[X, Y], and
Annotated[X, check, ...], where a check is a callable that returns the value or raises ValueError.
"""

from __future__ import annotations

import math
import types
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from datamodules import registry

NONE_WORDS = ("none", "null", "")
TRUE_WORDS = ("true", "1", "yes", "on")
FALSE_WORDS = ("false", "0", "no", "off")


class _Whole(str):
    """Text that is one value of a list."""


@dataclass(frozen=True)
class Range:
    """Numbers from low to high; `above` leaves low itself out, `below` high."""

    low: float = -math.inf
    high: float = math.inf
    above: bool = False
    below: bool = False

    def __call__(self, value: float) -> float:
        too_low = value <= self.low if self.above else value < self.low
        too_high = value >= self.high if self.below else value > self.high
        if too_low or too_high:
            raise ValueError(f"expected a number {self}, found {value}")
        return value

    def __str__(self) -> str:
        low = f"{'above' if self.above else 'of at least'} {self.low:g}"
        high = f"{'below' if self.below else 'of at most'} {self.high:g}"
        bounds = [low] * math.isfinite(self.low) + [high] * math.isfinite(self.high)
        return " and ".join(bounds)


@dataclass(frozen=True)
class Registered:
    """The name of a plug-in of `package`."""

    package: str

    def __call__(self, value: str) -> str:
        return registry.resolve(self.package, value)


PositiveInt = Annotated[int, Range(1)]
NonNegativeInt = Annotated[int, Range(0)]
PositiveFloat = Annotated[float, Range(0, above=True)]
NonNegativeFloat = Annotated[float, Range(0)]
Probability = Annotated[float, Range(0, 1)]


def convert(hint: Any, value: Any) -> Any:
    """`value` (text of a command line, or what YAML made of it) as the type `hint`.

    Raises ValueError `expected ..., found ...`.
    """
    origin, args = get_origin(hint), get_args(hint)
    if origin is Annotated:
        value = convert(args[0], value)
        for check in args[1:]:
            value = check(value)
        return value
    if origin is Literal:
        return _choice(value, args)
    if origin in (Union, types.UnionType):
        return _either(hint, value, args)
    if origin is tuple:
        return _items(value, args)
    return _PLAIN[hint](value)


def whole(value: Any) -> list[Any] | None:
    """A list, or its one value, that `convert` does not part at commas and spaces; None for a word for it."""
    items = list(value) if isinstance(value, list | tuple) else [value]
    if len(items) == 1 and (items[0] is None or str(items[0]).lower() in NONE_WORDS):
        return None
    return [_Whole(item) if isinstance(item, str) else item for item in items]


def describe(hint: Any) -> str:
    """`a whole number`, `one of a, b`: for error messages."""
    origin, args = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return describe(args[0])
    if origin is Literal:
        return f"one of {', '.join(args)}" if len(args) > 1 else args[0]
    if origin in (Union, types.UnionType):
        return " or ".join(dict.fromkeys("none" if a is type(None) else describe(a) for a in args))
    if origin is tuple:
        return "a list" if args[-1] is Ellipsis else f"{len(args)} values"
    words = {bool: "True or False", int: "a whole number", float: "a number", str: "text", Path: "a path"}
    return words[hint]


def metavar(hint: Any) -> str:
    """What stands for the value in --help: `N`, `{a,b}`, `PATH ...`."""
    origin, args = get_origin(hint), get_args(hint)
    if origin is Annotated:
        plugins = [check for check in args[1:] if isinstance(check, Registered)]
        return f"{{{','.join(registry.names(plugins[0].package))}}}" if plugins else metavar(args[0])
    if origin is Literal:
        return f"{{{','.join(args)}}}"
    if origin in (Union, types.UnionType):
        members = dict.fromkeys(metavar(arg) for arg in args if arg is not type(None))
        return "|".join(member.strip("{}") for member in members) if len(members) > 1 else next(iter(members))
    if origin is tuple:
        items = [metavar(arg) for arg in args if arg is not Ellipsis]
        return f"{items[0]} ..." if Ellipsis in args else " ".join(items)
    return {bool: "[True|False]", int: "N", float: "X", str: "TEXT", Path: "PATH"}[hint]


def is_list(hint: Any) -> bool:
    """Whether a flag of this type takes more than one word."""
    if get_origin(hint) in (Union, types.UnionType, Annotated):
        return any(is_list(arg) for arg in get_args(hint))
    return get_origin(hint) is tuple


def plain(value: Any) -> Any:
    """`value` in the types that YAML and JSON know."""
    if isinstance(value, tuple):
        return [plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value


def _choice(value: Any, choices: tuple[str, ...]) -> str:
    text = str(value).replace("_", "-").lower()
    for choice in choices:
        if text == choice.replace("_", "-").lower():
            return choice
    raise ValueError(registry.unknown(f"found {str(value)!r}", str(value), list(choices)))


def _either(hint: Any, value: Any, args: tuple[Any, ...]) -> Any:
    if type(None) in args and (value is None or str(value).lower() in NONE_WORDS):
        return None
    members = [arg for arg in args if arg is not type(None)]
    for member in members[:-1]:
        try:
            return convert(member, value)
        except ValueError:
            continue
    try:
        return convert(members[-1], value)
    except ValueError:
        if len(members) == 1:
            raise
        raise ValueError(f"expected {describe(hint)}, found {value!r}") from None


def _items(value: Any, args: tuple[Any, ...]) -> tuple[Any, ...]:
    items = list(value) if isinstance(value, list | tuple) else [value]
    split = [part for item in items for part in _split(item)]
    if Ellipsis in args:
        return tuple(convert(args[0], part) for part in split)
    if len(split) != len(args):
        raise ValueError(f"expected {len(args)} values, found {len(split)}")
    return tuple(convert(arg, part) for arg, part in zip(args, split, strict=True))


def _split(item: Any) -> list[Any]:
    is_parted = isinstance(item, str) and not isinstance(item, _Whole)
    return item.replace(",", " ").split() if is_parted else [item]


def _bool(value: Any) -> bool:
    text = str(value).lower()
    if text in TRUE_WORDS:
        return True
    if text in FALSE_WORDS:
        return False
    raise ValueError(f"expected True or False, found {value!r}")


def _int(value: Any) -> int:
    if isinstance(value, bool | float):
        raise ValueError(f"expected a whole number, found {value!r}")
    try:
        return int(value)
    except (ValueError, TypeError):
        raise ValueError(f"expected a whole number, found {value!r}") from None


def _float(value: Any) -> float:
    try:
        number = float(value) if not isinstance(value, bool) else math.nan
    except (ValueError, TypeError):
        number = math.nan
    if not math.isfinite(number):
        raise ValueError(f"expected a number, found {value!r}")
    return number


def _str(value: Any) -> str:
    if isinstance(value, list | tuple | dict) or value is None:
        raise ValueError(f"expected text, found {value!r}")
    return str(value)


def _path(value: Any) -> Path:
    text = _str(value)
    if not text:
        raise ValueError("expected a path, found nothing")
    return Path(text).expanduser()


_PLAIN = {bool: _bool, int: _int, float: _float, str: _str, Path: _path}
