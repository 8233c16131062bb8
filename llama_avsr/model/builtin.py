"""Pretrained models that come with the package: `demo:whisper`, `demo:av_hubert`, `demo:llama`."""

from __future__ import annotations

from pathlib import Path

PREFIX = "demo:"
FOLDER = Path(__file__).parents[1] / "demo" / "weights"
BEFORE = "datamodules/demo/weights/"
"""Where they lay, from the repository's root, when version 0.1 wrote checkpoints."""


def located(name: str) -> str:
    """The folder that a built-in model's name means; any other name as it is.

    >>> located("openai/whisper-base")
    'openai/whisper-base'
    """
    if name.startswith(PREFIX):
        return str(FOLDER / name.removeprefix(PREFIX))
    if name.startswith(BEFORE) and not Path(name).exists():
        return str(FOLDER / name.removeprefix(BEFORE))
    return name
