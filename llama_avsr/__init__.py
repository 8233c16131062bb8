"""Speech recognition with large language models, from sound, lips, or both.

import llama_avsr
transcriber = llama_avsr.load("MODEL")
print(transcriber.transcribe("video.mp4").text)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from llama_avsr import _moved

if TYPE_CHECKING:
    from pathlib import Path

    from llama_avsr.transcription.pipeline import Transcriber

_moved.install()


def load(path: Path | str, **options: Any) -> Transcriber:
    """A model that transcribes videos, and stays warm from one to the next.

    path: a checkpoint folder, the folder of a run, a published file, or a model on the Hugging Face hub:
        `user/model`, or `user/model@revision`.
    options: any of `transcribe.py --help`, with underscores: `num_beams=4, accelerator="cpu"`.
    Raises ValueError for a model or options that cannot be used.
    """
    # Everything heavy comes with it: options and command lines import this package too.
    from llama_avsr.transcription.loading import load

    return load(path, **options)
