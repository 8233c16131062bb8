"""Keeps the page up until it is told to stop."""

from __future__ import annotations

import ipaddress
import logging
import os
import signal
import tempfile
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from llama_avsr.transcription.pipeline import Transcriber

LOGGER = logging.getLogger(__name__)
HOST = "127.0.0.1"
PORT = 7860


def serve(
    transcriber: Transcriber,
    *,
    noise_path: Path | None = None,
    examples_dir: Path | None = None,
    host: str = HOST,
    port: int = PORT,
) -> None:
    """Show the page until Ctrl-C or SIGTERM. Uploads and results are deleted an hour after, and at the end.

    Raises ValueError where the port is taken, the noise cannot be read, or there is no example.
    """
    with _own_folder(), _no_proxy(host):
        # Reads its environment when it is imported.
        from llama_avsr.page.layout import LOOKS, MAX_FILE_SIZE, build
        from llama_avsr.page.live import add_route

        page = build(transcriber, noise_path=noise_path, examples_dir=examples_dir)
        try:
            app, url, _ = page.launch(
                server_name=host,
                server_port=port,
                share=False,
                quiet=True,
                prevent_thread_lock=True,
                ssr_mode=False,
                run_history=False,
                footer_links=[],
                max_file_size=MAX_FILE_SIZE.replace(" ", "").lower(),
                **LOOKS,
            )
        except OSError:
            raise ValueError(f"--port {port} is taken, or not allowed to you: give another") from None
        visits = add_route(app, transcriber)
        if not is_loopback(host):
            LOGGER.warning("--host %s: whoever reaches this machine can use the page", host)
        print(f"The page is at {url} (Ctrl-C ends it)", flush=True)
        try:
            _wait()
        finally:
            # Who is impatient must not end Python while recordings are being ended: that takes seconds.
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, signal.SIG_IGN)
            page.close(verbose=False)
            visits.close()


@contextmanager
def _own_folder() -> Iterator[None]:
    """gradio and we keep files in a folder of this run, which goes with it."""
    root, before = os.environ.get("GRADIO_TEMP_DIR"), tempfile.tempdir
    with (
        tempfile.TemporaryDirectory(
            prefix="llama_avsr_page_", dir=root, ignore_cleanup_errors=True
        ) as folder,
        _environment(GRADIO_TEMP_DIR=folder),
    ):
        tempfile.tempdir = folder
        try:
            yield
        finally:
            tempfile.tempdir = before


def _no_proxy(host: str) -> AbstractContextManager[None]:
    """gradio asks itself whether it is up; a cluster's proxy would answer that it is not."""
    own = ("127.0.0.1", "localhost", host)
    names = ("NO_PROXY", "no_proxy")
    return _environment(**{name: ",".join(filter(None, (os.environ.get(name), *own))) for name in names})


@contextmanager
def _environment(**values: str) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name)
            if value is not None:
                os.environ[name] = value


def is_loopback(host: str) -> bool:
    """Whether other machines cannot reach what listens at an address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _wait() -> None:
    """Until SIGINT or SIGTERM."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        while True:
            time.sleep(3600)
    except KeyboardInterrupt:
        print()
    finally:
        signal.signal(signal.SIGTERM, before)
