"""Babble out of a data set's own voices."""

from __future__ import annotations

import wave
from pathlib import Path

import numpy as np
import pytest

from datamodules.media import load_audio
from llama_avsr.commands import prepare
from tests.e2e import data_set


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return data_set.make(tmp_path / "data", num_train=4, num_test=1, video=False)


def babble(data: Path, *flags: object) -> int:
    return prepare.main(["babble", "train.csv", "--root-dir", str(data), *map(str, flags)])


def test_it_is_as_long_as_asked_and_the_same_each_time(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert babble(data, "--seconds", 7.5, "--voices", 3) == 0
    assert "7.5 s of 3 voices, out of 4 clips" in capsys.readouterr().out
    first = (data / "babble.wav").read_bytes()
    assert len(load_audio(data / "babble.wav")) == 7.5 * 16_000
    babble(data, "--seconds", 7.5, "--voices", 3, "--out", tmp_path / "again.wav")
    assert (tmp_path / "again.wav").read_bytes() == first
    babble(data, "--seconds", 7.5, "--voices", 3, "--seed", 1)
    assert (data / "babble.wav").read_bytes() != first


def test_a_quiet_voice_is_as_loud_as_the_others(data: Path) -> None:
    for path in sorted(data.rglob("train/*.wav"))[:2]:
        with wave.open(str(path)) as file:
            samples = np.frombuffer(file.readframes(file.getnframes()), "<i2")
        data_set.write_wav(path, samples / 32767 / 50)
    babble(data, "--seconds", 3, "--voices", 1)
    seconds = load_audio(data / "babble.wav").view(-1, 8_000).square().mean(1).sqrt()
    assert seconds.max() < 1.2 * seconds.min()


def test_clips_without_sound(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for path in data.rglob("train/*.wav"):
        data_set.write_wav(path, np.zeros(len(load_audio(path))))
    assert babble(data) == 2
    assert "expected clips with sound for babble, found 4 silent ones" in capsys.readouterr().err
    assert not (data / "babble.wav").exists()
