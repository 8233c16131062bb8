"""An HTTP server that speaks OpenAI's transcription interface: `transcribe.py --serve-api`, or
`server.serve(llama_avsr.load("MODEL"))`."""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from llama_avsr.transcription.pipeline import Transcriber

NEEDED = ("fastapi", "uvicorn", "python_multipart", "prometheus_client")


def serve(transcriber: Transcriber, **choices: Any) -> None:
    """Answer requests until a signal; `llama_avsr.server.run.serve` has the choices.

    Raises ValueError where a package is not installed, the port is taken or a key file cannot be used.
    """
    check_installed()
    from llama_avsr.server.run import serve

    serve(transcriber, **choices)


def check_installed() -> None:
    """Raises ValueError without the extra `server`."""
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise ValueError(f'the server needs {", ".join(missing)}: pip install "llama-avsr[server]"')
