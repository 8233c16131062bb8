"""Module names of version 0.1, which scripts and job files still use: importing one, or `python -m`, gives
what has taken its place. To be dropped with version 0.3.
"""

from __future__ import annotations

import importlib
import sys
import warnings
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from types import CodeType, ModuleType

MOVED = {
    **{
        name: f"model.{name}"
        for name in ("build", "decoding", "freezing", "int8", "llm", "lora", "projector", "prompt")
    },
    **{name: f"model.{name}" for name in ("quantisation", "sink", "summary", "text")},
    **{name: f"checkpoints.{name}" for name in ("averaging", "export", "released")},
    "released.__main__": "commands.convert",
    "checkpoint": "checkpoints.folder",
    "runtime": "lightning.trainer",
    "lightning_module": "lightning.module",
    **{name: f"lightning.{name}" for name in ("data", "loggers", "progress")},
    **{name: f"training.{name}" for name in ("samples", "schedules")},
    **{name: f"evaluation.{name}" for name in ("control", "metrics", "plots", "report")},
    "demo_vsp": "demo.translation",
    "demo_programs": "demo.programs",
    "demo_pretrain": "demo.pretrain",
}
"""Below `llama_avsr`: old name -> new."""
RUN = {"llama_avsr.export": "llama_avsr.commands.export"}
"""What `python -m` runs under an old name, where that is not the module that has it."""
PACKAGES = {f"llama_avsr.{name}": f"llama_avsr.{name}.run" for name in ("training", "evaluation")}
"""Packages that were modules."""
PACKAGE = __name__.rpartition(".")[0]


class _Alias(Loader):
    """Gives the module of another name."""

    def __init__(self, name: str) -> None:
        self.name = name

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        module = importlib.import_module(self.name)
        self.spec = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        module.__spec__ = self.spec  # the import system has put the old name there

    def get_code(self, name: str) -> CodeType | None:
        """What `python -m` runs."""
        runs = RUN.get(name, self.name)
        return find_spec(runs).loader.get_code(runs)


class _Finder(MetaPathFinder):
    def find_spec(self, name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        package, _, rest = name.partition(".")
        old, _, below = rest.partition(".")
        if package != PACKAGE or old not in MOVED:
            return None
        new = f"{PACKAGE}.{MOVED.get(rest) or f'{MOVED[old]}.{below}'}"
        warnings.warn(f"{name} is now {new}", DeprecationWarning, stacklevel=2)
        spec = find_spec(new)
        if spec is None:
            return None
        is_package = spec.submodule_search_locations is not None
        origin = find_spec(RUN[name]).origin if name in RUN else spec.origin  # `python -m` calls it __file__
        found = ModuleSpec(name, _Alias(new), origin=origin, is_package=is_package)
        found.submodule_search_locations = spec.submodule_search_locations
        return found


class _Package(ModuleType):
    """A package under the name of an old module: what one asks of it or sets in it is the new module's."""

    def __getattr__(self, name: str) -> object:
        if name.startswith("__"):
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        return getattr(importlib.import_module(PACKAGES[self.__name__]), name)

    def __setattr__(self, name: str, value: object) -> None:
        new = sys.modules.get(PACKAGES[self.__name__])
        if new is not None and name in vars(new) and not isinstance(value, ModuleType):
            setattr(new, name, value)
        else:
            super().__setattr__(name, value)


def forward(package: str) -> None:
    """Let a package answer for the module of version 0.1 whose name it has."""
    sys.modules[package].__class__ = _Package


def install() -> None:
    """Let the import system find modules under their old names, after all others."""
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.append(_Finder())
