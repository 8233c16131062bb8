"""The folder is the registry: a plug-in is one file in its package's folder, found by listing it.

Names are file names with hyphens (`avg_pooling.py` is `avg-pooling`); either spelling is taken.
Files that begin with an underscore are helpers, not plug-ins. Listing imports nothing.
"""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import pkgutil
from types import ModuleType


def names(package: str) -> list[str]:
    """Plug-ins of a package (`llama_avsr.encoders`), sorted. Imports the package's parents only."""
    spec = importlib.util.find_spec(package)
    if spec is None or spec.submodule_search_locations is None:
        raise ModuleNotFoundError(f"no package {package}")
    modules = pkgutil.iter_modules(spec.submodule_search_locations)
    return sorted(_spelled(module.name) for module in modules if not module.name.startswith("_"))


def resolve(package: str, name: str) -> str:
    """The listed name that `name` means. Raises ValueError with the right ones where there is none."""
    known = names(package)
    spelled = _spelled(name)
    if spelled not in known:
        raise ValueError(unknown(f"{package.rpartition('.')[2]} has no {name!r}", spelled, known))
    return spelled


def load(package: str, name: str) -> ModuleType:
    """Import the plug-in `name` of `package`. Raises ValueError with the right names."""
    return importlib.import_module(f"{package}.{module_name(resolve(package, name))}")


def module_name(name: str) -> str:
    """`avg-pooling` -> `avg_pooling`."""
    return name.replace("-", "_")


def unknown(what: str, name: str, known: list[str]) -> str:
    """`what; did you mean ...? There are: ...`"""
    close = difflib.get_close_matches(name, known, n=1)
    hint = f"; did you mean {close[0]}?" if close else "."
    return f"{what}{hint} There are: {', '.join(known) or 'none'}"


def _spelled(name: str) -> str:
    return name.replace("_", "-").lower()
