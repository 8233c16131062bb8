"""Where the recipes lie that come with the package: `--config recipes/demo/asr.yaml` works in any folder."""

from __future__ import annotations

from pathlib import Path

PACKAGE = Path(__file__).parents[1]
FOLDER = PACKAGE / "recipes" if (PACKAGE / "recipes").is_dir() else PACKAGE.parent / "recipes"
"""Inside the installed package, or in the checkout."""


def located(path: Path) -> Path:
    """The recipe that `recipes/...` means where there is no such file; any other path as it is."""
    if path.exists() or path.parts[:1] != (FOLDER.name,):
        return path
    ours = FOLDER.joinpath(*path.parts[1:])
    return ours if ours.is_file() else path
