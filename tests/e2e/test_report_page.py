"""The HTML report in a browser: all of it is shown, nothing is fetched, nothing sticks out."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from llama_avsr.commands import report as command
from tests.e2e.browser import as_phone, need_browser, open_browser, requested_hosts
from tests.e2e.data_set import write_mp4, write_wav

pytestmark = pytest.mark.slow
SAID = "place green by x one soon"
FACTS = """
const shown = (query) => [...document.querySelectorAll(query)];
return {
  pictures: shown("img").map((img) => img.naturalWidth),
  films: shown("video").map((video) => [video.error, video.readyState, video.duration]),
  sounds: shown("audio").map((audio) => [audio.error, audio.readyState, audio.duration]),
  colours: Object.fromEntries(
    ["S", "D", "I"].map((kind) => [kind, getComputedStyle(shown(`.words .${kind}`)[0]).backgroundColor])),
  tables: shown("table").length,
  wider: document.documentElement.scrollWidth - document.documentElement.clientWidth,
};
"""


def result(folder: Path, data: Path, hypotheses: list[str], snr_db: float | None, noise: str | None) -> None:
    folder.mkdir(parents=True)
    rows = [(f"own/s{place}", SAID, text) for place, text in enumerate(hypotheses)]
    with (folder / "hypotheses.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("id", "reference", "hypothesis"), *rows])
    summary = {
        "snr_db": snr_db,
        "noise": noise,
        "decoding": {"length_penalty": 1.0},
        "speech_hours": 0.01,
        "decode_seconds": 9.0,
        "device_seconds": 9.0,
        "peak_memory_gib": 1.25,
    }
    (folder / "summary.json").write_text(json.dumps(summary))
    best = [{"text": text, "score": -0.105} for text in hypotheses]
    lines = [
        {"id": row[0], "hypotheses": [one, {"text": SAID, "score": -0.7}]}
        for row, one in zip(rows, best, strict=True)
    ]
    (folder / "nbest.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    origin = {
        "label_file": {"path": str(data / "labels" / "test.csv"), "sha256": "0f" * 32},
        "options": {"data": {"root_dir": str(data)}},
        "model": "runs/a/average",
        "weights": {"sha256": "a1" * 32},
        "program": {"commit": "c0" * 20},
    }
    (folder / "origin.json").write_text(json.dumps(origin))


def clips(data: Path, count: int) -> Path:
    rng = np.random.default_rng(0)
    (data / "labels").mkdir(parents=True)
    (data / "own").mkdir()
    for place in range(count):
        frames = rng.integers(0, 255, (1, 96, 96)).repeat(25, axis=0).astype(np.uint8)
        write_mp4(data / "own" / f"s{place}.mp4", frames)
        write_wav(data / "own" / f"s{place}.wav", 0.1 * rng.standard_normal(16_000))
    rows = "".join(f"own,s{place}.mp4,25,0,{SAID}\n" for place in range(count))
    (data / "labels" / "test.csv").write_text(rows)
    return data


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    need_browser()
    folder = Path(tmp_path_factory.mktemp("report"))
    data = clips(folder / "data", 3)
    wrong = ["place green by x two soon", "place the green by x one", ""]
    for system, texts in (("a", wrong), ("b", [SAID, *wrong[1:]])):
        result(folder / system / "test", data, texts, None, None)
        for snr in (0.0, 10.0):
            result(folder / system / f"test_{snr:g}dB_white", data, [wrong[0]] * 3, snr, "white")
    command.main([str(folder / "a"), str(folder / "b"), "--out", str(folder / "report.html"), "--show", "2"])
    return folder / "report.html"


@pytest.mark.parametrize("phone", [False, True])
def test_the_report_in_a_browser(page: Path, phone: bool) -> None:
    with open_browser(1100, 900) as driver:
        if phone:
            as_phone(driver)
        driver.get(page.as_uri())
        wait_for_media(driver)
        facts = driver.execute_script(FACTS)
        text = driver.find_element("tag name", "body").text
        assert requested_hosts(driver) == set()
        assert [entry for entry in driver.get_log("browser") if entry["level"] == "SEVERE"] == []
        driver.save_screenshot(str(page.with_suffix(".png")))
    assert len(facts["pictures"]) == 1
    assert facts["pictures"][0] > 500
    for kind, seconds in (("films", 1.0), ("sounds", 1.0)):
        assert len(facts[kind]) >= 6
        assert {(error, round(length, 1)) for error, _, length in facts[kind]} == {(None, seconds)}
    assert len(set(facts["colours"].values())) == 3
    assert facts["wider"] <= 0
    for said in ("Verdicts", "one → two", "confidence 90% a token", "RTF", "0.25", "1.25", "c0c0"):
        assert said in text, said


def wait_for_media(driver) -> None:
    from selenium.webdriver.support.ui import WebDriverWait

    media = "[...document.querySelectorAll('video, audio')]"
    ready = f"return {media}.every((one) => one.error || one.readyState > 0)"
    WebDriverWait(driver, 60).until(lambda browser: browser.execute_script(ready))
