"""Live captions on the page, in a headless Chromium whose camera and microphone play files."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from llama_avsr.checkpoints import folder as checkpoint
from llama_avsr.options import to_dict
from tests import models
from tests.e2e.browser import need_browser, open_browser
from tests.e2e.programs import ROOT
from tests.e2e.test_page import find, until
from tests.speech import spoken
from tests.unit import media_files

if TYPE_CHECKING:
    from selenium.webdriver import Chrome

pytestmark = pytest.mark.slow
SIDE = 96


@pytest.fixture(scope="module")
def devices(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, ...]:
    """Flags for a camera that shows a mouth, and a microphone that hears a voice with pauses."""
    folder = tmp_path_factory.mktemp("devices")
    rng = np.random.default_rng(0)
    sound = np.concatenate([spoken(1.5), np.zeros(16_000)])
    media_files.write_wav(folder / "sound.wav", sound + 1e-4 * rng.standard_normal(len(sound)))
    frames = rng.integers(30, 220, (25, SIDE * SIDE), dtype=np.uint8)
    grey = bytes([128]) * (SIDE * SIDE // 2)
    with (folder / "picture.y4m").open("wb") as file:
        file.write(f"YUV4MPEG2 W{SIDE} H{SIDE} F25:1 Ip A1:1 C420jpeg\n".encode())
        for frame in frames:
            file.write(b"FRAME\n" + frame.tobytes() + grey)
    return (
        "--use-fake-ui-for-media-stream",
        "--use-fake-device-for-media-stream",
        f"--use-file-for-fake-audio-capture={folder / 'sound.wav'}",
        f"--use-file-for-fake-video-capture={folder / 'picture.y4m'}",
    )


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    need_browser()
    made = models.folders(tmp_path_factory.mktemp("models"))
    folder, scratch = tmp_path_factory.mktemp("run") / "avsr", tmp_path_factory.mktemp("scratch")
    model = models.build(made, "audiovisual", modality_dropout=0.2)
    options = to_dict(models.options(made, "audiovisual", modality_dropout=0.2))
    checkpoint.write(folder, checkpoint.saved_state(model), options)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    flags = ["--serve", "--port", port, "--pretrained-model-path", folder, "--accelerator", "cpu"]
    flags += ["--num-beams", 2, "--max-dec-tokens", 6, "--already-cropped"]
    log = scratch / "log.txt"
    with log.open("w") as file:
        server = subprocess.Popen(
            [sys.executable, str(ROOT / "transcribe.py"), *map(str, flags)],
            stdout=file,
            stderr=subprocess.STDOUT,
            env={**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "TMPDIR": str(scratch)},
            cwd=ROOT,
        )
    try:
        until(lambda: "The page is at" in log.read_text() or server.poll() is not None)
        url = f"http://127.0.0.1:{port}/"
        assert url in log.read_text(), log.read_text()
        yield url
        server.send_signal(signal.SIGTERM)
        assert server.wait(timeout=60) == 0, log.read_text()
        assert "Traceback" not in log.read_text(), log.read_text()
    finally:
        server.kill()
        server.wait()


def clicked(driver: Chrome, selector: str) -> bool:
    """Whether it could be: not while it is missing, or the page that loads lies over it."""
    from selenium.common.exceptions import ElementClickInterceptedException

    try:
        find(driver, selector)[0].click()
    except (IndexError, ElementClickInterceptedException):
        return False
    return True


def test_words_come_while_the_browser_records(address: str, devices: tuple[str, ...], tmp_path: Path) -> None:
    with open_browser(1160, 1500, *devices) as driver:
        driver.get(address)
        until(lambda: clicked(driver, "#live"))
        until(lambda: "Recording" in find(driver, "#live-status")[0].text)
        first = until(lambda: find(driver, "#live-captions .fixed"))[0].text
        assert "Recording" in find(driver, "#live-status")[0].text, "words come before the recording ends"
        assert first
        assert driver.save_screenshot(str(tmp_path / "live.png"))
        print(f"screenshot: {tmp_path / 'live.png'}")
        until(lambda: len(find(driver, "#live-captions .fixed")) >= 2)
        until(lambda: clicked(driver, "#live"))
        until(lambda: find(driver, "#live-status")[0].text == "")
        lines = [line.text for line in find(driver, "#live-captions .fixed")]
        assert len(lines) >= 2
        # A line may have grown; what it began with is fixed.
        assert lines[0].startswith(first)
        assert find(driver, "#live-captions .partial") == []
