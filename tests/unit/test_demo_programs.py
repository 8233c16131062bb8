"""Folders of runs that a demo finds again, and programs called as a user would."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from llama_avsr.demo import programs as demo_programs
from llama_avsr.demo import warm
from llama_avsr.demo.programs import call, open_folder, train, train_seconds

SETTINGS = {"quick": True, "seed": 1}
MADE = ("asr", "vsr")


def test_a_folder_opens_again_with_the_same_settings(tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    open_folder(runs, SETTINGS, False, MADE)
    (runs / "asr").mkdir()
    open_folder(runs, SETTINGS, False, MADE)
    assert (runs / "asr").is_dir()
    with pytest.raises(ValueError, match=r"quick True, seed 1, this one has quick True, seed 2.*--fresh"):
        open_folder(runs, {**SETTINGS, "seed": 2}, False, MADE)
    assert json.loads((runs / "demo.json").read_text()) == SETTINGS


def test_fresh_removes_what_the_demo_made_and_no_more(tmp_path: Path) -> None:
    for name in ("asr", "mine"):
        (tmp_path / name).mkdir()
    with pytest.raises(ValueError, match="removes asr"):
        open_folder(tmp_path, SETTINGS, False, MADE)
    open_folder(tmp_path, SETTINGS, True, MADE)
    assert not (tmp_path / "asr").exists()
    assert (tmp_path / "mine").is_dir()


@pytest.fixture
def called(monkeypatch: pytest.MonkeyPatch) -> list[tuple]:
    calls: list[tuple] = []
    monkeypatch.setattr(demo_programs, "call", lambda *words: calls.append(words))
    return calls


def test_a_training_begins_goes_on_or_is_done(tmp_path: Path, called: list[tuple]) -> None:
    folder, log = tmp_path / "asr", tmp_path / "asr.log"
    folder.mkdir()
    train(tmp_path, "asr", log, "--lr", 1)
    assert called.pop() == (*("asr", log, "train", "--lr", 1, "--exp-dir", tmp_path, "--exp-name", "asr"),)
    assert train_seconds(folder) >= 0
    (folder / "checkpoints" / "epoch=00-step=000001").mkdir(parents=True)
    train(tmp_path, "asr", log)
    assert called.pop()[-2:] == ("--ckpt-path", "last")
    (folder / "average").mkdir()
    (folder / "average" / "model.safetensors").touch()
    train(tmp_path, "asr", log)
    assert called == []


def test_a_program_that_fails_ends_the_demo_and_says_where_all_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(warm, "is_possible", lambda: False)  # as quick for one program
    log = tmp_path / "x.log"
    with pytest.raises(SystemExit, match=r"prepare failed; .*x\.log holds all of it"):
        call("units", log, "prepare", "no-such-command")
    assert "no-such-command" in log.read_text()
    said = capsys.readouterr().out
    assert said.startswith("[units] $ python -m llama_avsr prepare no-such-command\n")
    assert "There are: babble" in said
