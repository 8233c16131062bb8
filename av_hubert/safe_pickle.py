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
import struct
import sys
from _compat_pickle import IMPORT_MAPPING, NAME_MAPPING
from dataclasses import dataclass
from typing import Any, BinaryIO, ClassVar

import torch

DATA_TYPES: dict[str, type] = {
    **{
        f"builtins.{kind.__name__}": kind
        for kind in (dict, list, set, frozenset, tuple, int, float, complex, bool)
    },
    "collections.OrderedDict": collections.OrderedDict,
}

HASHING = (dict, set, frozenset, collections.OrderedDict)
MAX_KEY_ITEMS = 1000

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


class SafeUnpickler(pickle._Unpickler):
    """Unpickle data and references to tensors; see the module's docstring for what becomes of the rest.

    The unpickler written in Python, because each of its steps can be checked: the one in C takes gigabytes
    for a number in the pickle, and hashes for ever.
    """

    dispatch: ClassVar = dict(pickle._Unpickler.dispatch)

    def __init__(self, file: BinaryIO) -> None:
        super().__init__(file, encoding="utf-8")
        self._inert_types: dict[str, type[Inert]] = {}

    def load_duplicate(self) -> None:
        raise ValueError("a pickle with a step that pickle does not write")

    def load_long_bytearray(self) -> None:
        (size,) = struct.unpack("<Q", self.read(8))
        self.append(bytearray(self.read(size)))  # what is there, and not what the pickle promises

    def load_setting(self) -> None:
        key = self.stack[-2]
        if not isinstance(self.stack[-3], Inert):
            _check_key(key)
        super().load_setitem()

    def load_settings(self) -> None:
        self._check_marked(0, 2)
        super().load_setitems()

    def load_dictionary(self) -> None:
        self._check_marked(0, 2)
        super().load_dict()

    def load_adding(self) -> None:
        self._check_marked(0, 1)
        super().load_additems()

    def load_frozen(self) -> None:
        self._check_marked(0, 1)
        super().load_frozenset()

    def load_calling(self) -> None:
        _check_arguments(*self.stack[-2:])
        super().load_reduce()

    def load_making(self) -> None:
        _check_arguments(*self.stack[-2:])
        super().load_newobj()

    def load_making_by_name(self) -> None:
        kind = self.stack[-3]
        if not (isinstance(kind, type) and issubclass(kind, Inert)):
            raise ValueError(f"a pickle that makes a {_name_of(kind)} in an unusual way")
        super().load_newobj_ex()

    def load_state(self) -> None:
        """State is for what is inert: the rest is whole when it is made."""
        state = self.stack.pop()
        target = self.stack[-1]
        if isinstance(target, Inert):
            target.__setstate__(state)
        elif not isinstance(target, dict):
            raise ValueError(f"a pickle that changes a {type(target).__name__}")

    def _instantiate(self, kind: Any, arguments: list[Any]) -> None:
        _check_arguments(kind, tuple(arguments))
        super()._instantiate(kind, arguments)

    def _check_marked(self, first: int, step: int) -> None:
        """Check what is above the last mark and becomes keys."""
        for key in self.stack[first::step]:
            _check_key(key)

    dispatch |= {
        pickle.DUP[0]: load_duplicate,
        pickle.BYTEARRAY8[0]: load_long_bytearray,
        pickle.SETITEM[0]: load_setting,
        pickle.SETITEMS[0]: load_settings,
        pickle.DICT[0]: load_dictionary,
        pickle.ADDITEMS[0]: load_adding,
        pickle.FROZENSET[0]: load_frozen,
        pickle.REDUCE[0]: load_calling,
        pickle.NEWOBJ[0]: load_making,
        pickle.NEWOBJ_EX[0]: load_making_by_name,
        pickle.BUILD[0]: load_state,
    }

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
        raise ValueError(f"found an unknown reference, a {type(pid).__name__}, expected a tensor's storage")


def _check_key(key: Any) -> None:
    """Raises ValueError for what would take long to hash: tuples in tuples, many times over."""
    waiting, count = [key], 0
    while waiting:
        item = waiting.pop()
        count += 1
        if isinstance(item, tuple | frozenset):
            waiting.extend(item)
        elif isinstance(item, TensorRef | StorageRef):
            raise ValueError("a pickle with tensors for keys")
        if count + len(waiting) > MAX_KEY_ITEMS:
            raise ValueError("a pickle with endless keys")


def _check_arguments(kind: Any, arguments: Any) -> None:
    """Raises ValueError for a call that would hash too long, or is none."""
    if not isinstance(arguments, tuple):
        raise ValueError(f"a pickle that calls {_name_of(kind)} with a {type(arguments).__name__}")
    if kind not in HASHING:
        return
    for argument in arguments:
        if isinstance(argument, dict | set | frozenset | list | tuple):
            for item in argument:
                pair = issubclass(kind, dict) and isinstance(item, list | tuple) and len(item) == 2
                _check_key(item[0] if pair else item)


def _name_of(kind: Any) -> str:
    return getattr(kind, "qualified_name", None) or getattr(kind, "__name__", type(kind).__name__)


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
    try:
        return _plain(value, {})
    except RecursionError:
        raise ValueError("found a configuration in too many layers") from None


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
