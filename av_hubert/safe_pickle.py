"""Read pickles without running anything in them.

A pickle is a program: it may import any global and call it. Here no global is ever imported. Each one the
pickle names is looked up in a fixed table, and what happens to it is one of three things:

- containers, numbers, strings and torch's tensor builders become the real thing, or for tensors a
  `TensorRef` that says where the bytes lie;
- anything unknown that is not Python's own (fairseq, omegaconf, numpy, ...), and a few data types of the
  standard library, become `Inert` records: they keep the arguments and the state, and can do nothing;
- any other global of the standard library (`os.system`, `builtins.eval`, `getattr`, ...) has no business in
  a checkpoint: `UnsafePickleError` names it and reading stops.
"""

from __future__ import annotations

import collections
import pickle
import sys
from _compat_pickle import IMPORT_MAPPING, NAME_MAPPING
from dataclasses import dataclass
from typing import Any, BinaryIO

import torch

DATA_TYPES: dict[str, type] = {
    **{
        f"builtins.{kind.__name__}": kind
        for kind in (dict, list, set, frozenset, tuple, int, float, complex, bool)
    },
    "collections.OrderedDict": collections.OrderedDict,
}

INERT_STDLIB = frozenset({"argparse", "collections", "datetime", "decimal", "enum", "fractions", "pathlib"})
"""Standard modules whose classes are common in checkpoints; they become inert like foreign ones."""

INERT_STDLIB_NAMES = frozenset(
    {
        "_codecs.encode",
        "builtins.bytearray",
        "builtins.bytes",
        "builtins.object",
        "builtins.range",
        "builtins.slice",
        "builtins.str",
        "copyreg.__newobj__",
        "copyreg._reconstructor",
        "types.SimpleNamespace",
        "typing.Any",
        "typing.Union",
        "uuid.UUID",
    }
)

STORAGE_DTYPES = {
    "BFloat16Storage": torch.bfloat16,
    "BoolStorage": torch.bool,
    "ByteStorage": torch.uint8,
    "CharStorage": torch.int8,
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "IntStorage": torch.int32,
    "LongStorage": torch.int64,
    "ShortStorage": torch.int16,
}


class UnsafePickleError(ValueError):
    """The pickle asks for something that could run code."""


class Inert:
    """Stands for an instance of a class that is not imported. Keeps what the pickle gave it, does nothing."""

    qualified_name = "?"

    def __new__(cls, *args: Any, **kwargs: Any) -> Inert:
        # Not __init__: a pickle may make instances without calling it.
        instance = super().__new__(cls)
        instance.args = args
        instance.state = None
        instance.items = []
        return instance

    def __setstate__(self, state: Any) -> None:
        self.state = state

    def append(self, item: Any) -> None:
        self.items.append(item)

    def extend(self, items: Any) -> None:
        self.items.extend(items)

    def add(self, item: Any) -> None:
        self.items.append(item)

    def __setitem__(self, key: Any, value: Any) -> None:
        self.items.append((key, value))

    def __repr__(self) -> str:
        return f"<inert {self.qualified_name}>"


@dataclass(frozen=True, slots=True)
class StorageRef:
    """A run of numbers in the file, not read yet."""

    key: str
    dtype: torch.dtype
    numel: int


@dataclass(frozen=True, slots=True)
class TensorRef:
    """A tensor over a `StorageRef`, not read yet. Offset and strides count elements."""

    storage: StorageRef
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]


class _StorageType:
    """What `torch.FloatStorage` and its like turn into."""

    __slots__ = ("dtype",)

    def __init__(self, dtype: torch.dtype) -> None:
        self.dtype = dtype


# The builders are instances without attributes: unlike a function, a pickle cannot alter them for later.
class _TensorBuilder:
    __slots__ = ()

    def __call__(self, storage: StorageRef, offset: int, shape: tuple, stride: tuple, *_: Any) -> TensorRef:
        if not isinstance(storage, StorageRef):
            raise ValueError(f"found a tensor over {type(storage).__name__}, expected a storage")
        return TensorRef(storage, int(offset), tuple(map(int, shape)), tuple(map(int, stride)))


class _ParameterBuilder:
    __slots__ = ()

    def __call__(self, data: Any, *_: Any) -> Any:
        return data


class _SizeBuilder:
    __slots__ = ()

    def __call__(self, sizes: Any = ()) -> tuple[int, ...]:
        return tuple(map(int, sizes))


_BUILDERS = {
    "torch._utils._rebuild_tensor": _TensorBuilder,
    "torch._utils._rebuild_tensor_v2": _TensorBuilder,
    "torch._utils._rebuild_parameter": _ParameterBuilder,
    "torch._utils._rebuild_parameter_with_state": _ParameterBuilder,
    "torch.Size": _SizeBuilder,
}


class SafeUnpickler(pickle.Unpickler):
    """Unpickle data and references to tensors; see the module's docstring for what becomes of the rest."""

    def __init__(self, file: BinaryIO) -> None:
        super().__init__(file, encoding="utf-8")
        self._inert_types: dict[str, type[Inert]] = {}

    def find_class(self, module: str, name: str) -> Any:
        module, name = NAME_MAPPING.get((module, name), (IMPORT_MAPPING.get(module, module), name))
        qualified = f"{module}.{name}"
        if qualified in DATA_TYPES:
            return DATA_TYPES[qualified]
        if qualified in _BUILDERS:
            return _BUILDERS[qualified]()
        if module in ("torch", "torch.cuda") and name in STORAGE_DTYPES:
            return _StorageType(STORAGE_DTYPES[name])
        if _could_run_code(module, name):
            raise UnsafePickleError(
                f"its pickle names {qualified}, which could run code and has no place in a checkpoint. "
                "Nothing was run; do not use this file, fetch it again from where it was published"
            )
        if qualified not in self._inert_types:
            self._inert_types[qualified] = type("Inert", (Inert,), {"qualified_name": qualified})
        return self._inert_types[qualified]

    def persistent_load(self, pid: Any) -> StorageRef:
        match pid:
            case (
                "storage",
                _StorageType(dtype=torch.dtype() as dtype),
                str(key),
                _,
                int(numel),
            ) | (
                "storage",
                _StorageType(dtype=torch.dtype() as dtype),
                str(key),
                _,
                int(numel),
                None,
            ):
                return StorageRef(key, dtype, numel)
        raise ValueError(f"found an unknown reference {str(pid)[:80]}, expected a tensor's storage")


def _could_run_code(module: str, name: str) -> bool:
    """Whether a global that is not in the tables belongs to Python itself, directly or by a dotted path."""
    qualified = f"{module}.{name}"
    if qualified in INERT_STDLIB_NAMES or (module in INERT_STDLIB and "." not in name):
        return False
    # `torch` + `os.system` reaches the standard library through someone else's module.
    through = name.split(".")[:-1]
    inner = any(part in sys.stdlib_module_names or part.startswith("__") for part in through)
    top = module.split(".")[0]
    return inner or top in sys.stdlib_module_names


def plain(value: Any) -> Any:
    """Turn inert configuration objects into dicts, lists and values.

    Understands argparse's Namespace and omegaconf's nodes; anything else inert becomes the dict of its state.
    """
    return _plain(value, {})


def _plain(value: Any, done: dict[int, Any]) -> Any:
    if not isinstance(value, Inert | dict | list | tuple):
        return value
    if id(value) not in done:
        done[id(value)] = None  # what a configuration that holds itself finds there
        done[id(value)] = _converted(value, done)
    return done[id(value)]


def _converted(value: Any, done: dict[int, Any]) -> Any:
    if isinstance(value, Inert):
        return _plain(_content(value), done)
    if isinstance(value, dict):
        return {key: _plain(item, done) for key, item in value.items()}
    return [_plain(item, done) for item in value]


def _content(value: Inert) -> Any:
    if isinstance(value.state, dict):
        for wrapper in ("_content", "_val"):
            if wrapper in value.state:
                return value.state[wrapper]
        return value.state
    return value.args[0] if len(value.args) == 1 else None
