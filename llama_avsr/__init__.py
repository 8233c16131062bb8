"""Speech recognition with large language models, from sound, lips, or both.

>>> import llama_avsr
>>> transcriber = llama_avsr.load("runs/first")                                      # doctest: +SKIP
>>> print(transcriber.transcribe("talk.mp4").text)                                   # doctest: +SKIP
"""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

from llama_avsr import _moved

if TYPE_CHECKING:
    from pathlib import Path

    from llama_avsr.transcription.pipeline import Transcriber

__all__ = ["__version__", "load"]

try:
    __version__ = version("llama-avsr")
except PackageNotFoundError:  # a checkout that is not installed
    __version__ = "unknown"

_moved.install()


def load(path: Path | str, **options: Any) -> Transcriber:
    """A model that transcribes videos, and stays warm from one to the next.

    path: a checkpoint folder, the folder of a run, a published file, or a name on the Hugging Face hub.
    options: any of `transcribe.py --help`, with underscores: `num_beams=4, accelerator="cpu"`.
    Raises ValueError for a model or options that cannot be used.
    """
    # Everything heavy comes with it: options and command lines import this package too.
    from llama_avsr.transcription.loading import load

    return load(path, **options)
