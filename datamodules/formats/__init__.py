"""Label formats. The folder is the registry: each module here reads the suffixes it lists in `SUFFIXES`.

A format module offers

    SUFFIXES: tuple[str, ...]
    NAMES_LANGUAGES: bool           whether it says of each clip what is spoken and what is written
    read(path, root_dir, media, **own options) -> Utterances, or a list of `Utterance`
    tiny(folder) -> Path            writes a label file of two clips, without media, for the contract tests

and, where it has options of its own, a dataclass `Options` with their declarations. Modules whose name starts
with an underscore are helpers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType, ModuleType
from typing import Any

from datamodules import registry
from datamodules.table import Utterances

__all__ = ["find", "known", "names_languages", "read"]


def known() -> dict[str, ModuleType]:
    """The format modules by name."""
    return {name: registry.load(__name__, name) for name in registry.names(__name__)}


def read(
    path: Path,
    root_dir: Path,
    media: Sequence[str] = ("audio", "video"),
    options: Mapping[str, Mapping[str, Any]] = MappingProxyType({}),
) -> Utterances:
    """Read a label file in whichever format its suffix names.

    `media` says which of "audio" and "video" must be there for every line: a video is the .mp4, audio is the
    .wav or, without one, the .mp4 with its own track. `options` are those of the formats, by their names:
    `{"avhubert-tsv": {"path_prefix": ["/old=/new"]}}`.

    Raises:
        LabelError: a ValueError that names the file, the lines and what is wrong with them.
        ValueError: no format reads this suffix.
    """
    name, module = _format_of(Path(path))
    return Utterances.of(module.read(Path(path), Path(root_dir), media, **options.get(name, {})))


def names_languages(path: Path) -> bool:
    """Whether the label file's format says of each clip which language is spoken and which is written."""
    return _format_of(Path(path))[1].NAMES_LANGUAGES


def _format_of(path: Path) -> tuple[str, ModuleType]:
    formats = known()
    for name, module in formats.items():
        if path.suffix in module.SUFFIXES:
            return name, module
    listed = ", ".join(f"{name} ({' '.join(module.SUFFIXES)})" for name, module in formats.items())
    raise ValueError(
        f"{path}: no label format reads {path.suffix or 'a file without suffix'!r}; known formats: {listed}; "
        "see labels/README.md"
    )


def find(name: str | Path, root_dir: Path) -> Path:
    """The label file `name`: a path that exists, or else a file of `root_dir/labels`.

    Raises:
        ValueError: neither exists; the error lists the label files there are.
    """
    root_dir = Path(root_dir)
    if not root_dir.is_dir():
        raise ValueError(f"{root_dir}: no such folder; the root of the data set is given by --root-dir")
    candidates = [Path(name), root_dir / "labels" / name]
    for candidate in candidates:
        if candidate.is_file():
            return candidate
    found = _label_files(root_dir / "labels")
    listed = ", ".join(found[:10]) + (", ..." if len(found) > 10 else "") if found else "none"
    raise ValueError(f"no label file at {candidates[0]} nor at {candidates[1]}; label files there: {listed}")


def _label_files(folder: Path) -> list[str]:
    """Those that some format reads, in subfolders too: `vsr/en/test.tsv`."""
    suffixes = {suffix for module in known().values() for suffix in module.SUFFIXES}
    return sorted(
        str(path.relative_to(folder))
        for path in folder.rglob("*")
        if path.suffix in suffixes and path.is_file()
    )
