"""The page of `transcribe.py --serve` in a real browser: upload, words, crop, errors, no strangers asked."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from gradio_client import Client, handle_file

from llama_avsr.checkpoints import folder as checkpoint
from llama_avsr.options import to_dict
from tests import models
from tests.e2e.browser import as_phone, need_browser, open_browser, requested_hosts
from tests.e2e.programs import ROOT
from tests.speech import spoken
from tests.unit import media_files

if TYPE_CHECKING:
    from selenium.webdriver import Chrome

pytestmark = pytest.mark.slow
FRAMES = 75
PATIENCE_SECONDS = 90
"""Machines that run tests may be busy."""


@pytest.fixture(scope="module")
def media(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A mouth clip with two stretches of speech, a file that is no video, a noise, an example."""
    folder = tmp_path_factory.mktemp("media")
    waveform = np.concatenate([spoken(1.0), np.zeros(20 * 640), spoken(1.2)])
    media_files.write_video(folder / "spoken.mp4", media_files.moving_bar(FRAMES), waveform=waveform)
    (folder / "broken.mp4").write_text("this is no video")
    media_files.write_wav(folder / "babble.wav", spoken(1.0, start=1.0))
    media_files.write_video(folder / "examples" / "one.mp4", media_files.moving_bar(30))
    media_files.write_wav(folder / "examples" / "one.wav", waveform[: 30 * 640])
    return folder


@pytest.fixture(scope="module")
def address(media: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where the page of a tiny audio-visual model is; its files are gone when it stops."""
    need_browser()
    made = models.folders(tmp_path_factory.mktemp("models"))
    model_folder, scratch = tmp_path_factory.mktemp("run") / "avsr", tmp_path_factory.mktemp("scratch")
    choices = {"modality_dropout": 0.2, "prompt_audiovisual": "transcribe speech to text ."}
    model = models.build(made, "audiovisual", **choices)
    options = to_dict(models.options(made, "audiovisual", **choices))
    checkpoint.write(model_folder, checkpoint.saved_state(model), options)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    flags = ["--serve", "--port", port, "--pretrained-model-path", model_folder, "--accelerator", "cpu"]
    flags += ["--noise-file", media / "babble.wav", "--examples", media / "examples"]
    flags += ["--num-beams", 2, "--nbest", 2, "--max-dec-tokens", 6]
    environment = {
        **os.environ,
        **{"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "TMPDIR": str(scratch)},
        "HTTP_PROXY": "http://127.0.0.1:9",
    }
    log = scratch / "log.txt"
    with log.open("w") as file:
        server = subprocess.Popen(
            [sys.executable, str(ROOT / "transcribe.py"), *map(str, flags)],
            stdout=file,
            stderr=subprocess.STDOUT,
            env=environment,
            cwd=ROOT,
        )
    try:
        url = f"http://127.0.0.1:{port}/"
        until(lambda: "The page is at" in log.read_text() or server.poll() is not None)
        assert url in log.read_text(), log.read_text()
        yield url
        server.send_signal(signal.SIGTERM)
        assert server.wait(timeout=30) == 0, log.read_text()
        assert "Traceback" not in log.read_text(), log.read_text()
        assert list(scratch.glob("llama_avsr_page_*")) == []
    finally:
        server.kill()
        server.wait()


@pytest.fixture(scope="module")
def browser(address: str) -> Iterator[Chrome]:
    with open_browser(1160, 1300) as driver:
        yield driver


@pytest.fixture
def page(browser: Chrome, address: str) -> Chrome:
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    browser.get(address)
    until(lambda: find(browser, "#transcribe"))
    return browser


def until(true: Callable[[], Any]) -> Any:
    """Wait for something; returns it."""
    end = time.monotonic() + PATIENCE_SECONDS
    while not (found := true()):
        assert time.monotonic() < end, f"waited {PATIENCE_SECONDS} s in vain"
        time.sleep(0.1)
    return found


def find(driver: Chrome, css: str) -> list[Any]:
    return driver.find_elements("css selector", css)


def upload(driver: Chrome, path: Path) -> None:
    until(lambda: find(driver, "#video-input input[type=file]"))[0].send_keys(str(path))
    until(lambda: find(driver, "#video-input video"))


def press(driver: Chrome) -> None:
    find(driver, "#transcribe")[0].click()


def test_upload_shows_words_segments_and_crop(page: Chrome, media: Path, tmp_path: Path) -> None:
    upload(page, media / "spoken.mp4")
    until(lambda: find(page, "#cropped input")[0].is_selected())
    press(page)
    until(lambda: find(page, "#segment-table"))
    rows = find(page, "#segment-table tbody > tr")
    assert len(rows) == 2
    words = until(lambda: find(page, "#words textarea")[0].get_attribute("value"))
    first = [row.find_elements("css selector", "td")[1].text.splitlines()[0] for row in rows]
    assert " ".join(first) == words
    assert rows[0].text.startswith("0.00\N{EN DASH}1.1")
    find(page, "#segment-table summary")[0].click()
    until(lambda: find(page, "#segment-table details[open] li"))
    assert "sound and lips" in find(page, "#status")[0].text
    assert "encoder" in find(page, "#stage-table")[0].text
    crop = until(lambda: find(page, "#mouth video"))[0]
    length = until(lambda: page.execute_script("return arguments[0].duration", crop))
    assert length == pytest.approx(FRAMES / 25, abs=0.1)
    assert page.execute_script("return arguments[0].videoWidth", crop) == 96
    assert find(page, "#files")[0].text.split().count("spoken") == 4
    screenshot = tmp_path / "page.png"
    assert page.save_screenshot(str(screenshot))
    assert screenshot.stat().st_size > 20_000
    print(f"screenshot: {screenshot}")


def test_sound_alone(page: Chrome, media: Path) -> None:
    find(page, "[role=tab]")[1].click()
    until(lambda: find(page, "#sound-input input[type=file]"))[0].send_keys(str(media / "babble.wav"))
    until(lambda: "babble.wav" in find(page, "#sound-input")[0].text or find(page, "#sound-input #waveform"))
    press(page)
    until(lambda: find(page, "#segment-table"))
    status = find(page, "#status")[0].text
    assert status.startswith("Used: sound alone: the file has no picture.")
    assert "no mouth" not in status
    assert not [video for video in find(page, "#mouth video") if video.is_displayed()]


def test_a_file_that_is_no_video_gets_a_sentence(page: Chrome, media: Path) -> None:
    upload(page, media / "broken.mp4")
    press(page)
    text = until(lambda: find(page, "#status [role=alert]"))[0].text
    assert text.startswith("broken.mp4: ")
    assert "Traceback" not in text
    assert "/tmp" not in text
    assert find(page, "#segment-table") == []


def test_nothing_uploaded_gets_a_sentence(page: Chrome) -> None:
    press(page)
    assert "There is no video yet" in until(lambda: find(page, "#status [role=alert]"))[0].text


def test_limits_and_queue_are_on_the_page(page: Chrome) -> None:
    assert "at most 2 GB" in find(page, "#limits")[0].text
    assert until(lambda: find(page, "#line")[0].text)


def test_twenty_requests_at_one_time_keep_their_answers(address: str, media: Path, tmp_path: Path) -> None:
    client = Client(address, verbose=False, download_files=str(tmp_path))
    recording = handle_file(str(media / "spoken.mp4"))
    choices = {"modality": "audio", "cropped": True, "snr": "clean"}
    jobs = [client.submit(recording, None, *choices.values(), api_name="/transcribe") for _ in range(20)]
    answers = [job.result(timeout=PATIENCE_SECONDS) for job in jobs]
    words = {answer[1] for answer in answers}
    assert len(words) == 1
    for answer in answers:
        files = answer[4]["value"] if isinstance(answer[4], dict) else answer[4]
        assert len(files) == 4
        assert all(Path(file).stat().st_size for file in files)


def test_an_example_in_noise_on_a_phone(page: Chrome) -> None:
    as_phone(page)
    find(page, "#example input")[0].click()
    until(lambda: find(page, "[role=option]"))[1].click()
    until(lambda: find(page, "#video-input video"))
    until(lambda: find(page, "#cropped input")[0].is_selected())
    noise = find(page, "#noise label")
    assert [label.text for label in noise] == ["none", "10 dB", "5 dB", "0 dB", "\N{MINUS SIGN}5 dB"]
    noise[3].click()
    press(page)
    until(lambda: find(page, "#segment-table"))
    assert page.execute_script("return document.documentElement.scrollWidth") <= 390


def test_choices_are_the_models_and_all_inputs_have_names(page: Chrome) -> None:
    choices = [label.text for label in find(page, "#modality label")]
    assert choices == ["whatever the file has", "sound and lips", "sound alone", "lips alone"]
    assert page.title == "Transcription"
    unnamed = [
        element.get_attribute("outerHTML")
        for element in find(page, ":is(input, textarea, button, video):not([aria-hidden=true] *)")
        if element.is_displayed() and not element.accessible_name
    ]
    assert unnamed == []


def test_the_page_asks_nobody_else(browser: Chrome, address: str) -> None:
    """Over all tests above: no fonts, scripts or statistics from elsewhere."""
    own = address.removeprefix("http://").rstrip("/")
    assert requested_hosts(browser) == {own}
