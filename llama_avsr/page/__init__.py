"""Transcription in the browser: `transcribe.py --serve`, or `page.serve(llama_avsr.load("MODEL"))`."""

from __future__ import annotations

import importlib.util
import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import gradio as gr

    from llama_avsr.transcription.pipeline import Transcriber

# Before gradio is imported: it reports to its makers otherwise.
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"


def build(transcriber: Transcriber, **choices: Any) -> gr.Blocks:
    """The page, to be launched or mounted by the caller; `llama_avsr.page.layout.build` has the choices.

    Raises ValueError where gradio is not installed.
    """
    check_installed()
    from llama_avsr.page.layout import build

    return build(transcriber, **choices)


def serve(transcriber: Transcriber, **choices: Any) -> None:
    """Show the page until Ctrl-C; `llama_avsr.page.server.serve` has the choices.

    Raises ValueError where gradio is not installed or the port is taken.
    """
    check_installed()
    from llama_avsr.page.server import serve

    serve(transcriber, **choices)


def check_installed() -> None:
    """Raises ValueError without gradio."""
    if importlib.util.find_spec("gradio") is None:
        raise ValueError('the page in the browser needs gradio: pip install "llama-avsr[page]"')
