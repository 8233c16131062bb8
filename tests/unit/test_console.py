"""The console command: names of commands, what they run, and that listing them imports nothing heavy."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path

import pytest

from llama_avsr import __main__ as console
from llama_avsr.options import recipes
from llama_avsr.options.config_file import read_config
from tests.unit.test_import_direction import HEAVY

EXPECTED = {"train", "eval", "transcribe", "prepare", "convert", "export", "demo"}


def test_these_are_the_commands() -> None:
    assert set(console.COMMANDS) >= EXPECTED


@pytest.mark.parametrize("name", console.COMMANDS)
def test_every_command_has_help(
    name: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["pytest"])  # the program's name is put there
    with pytest.raises(SystemExit) as left:
        console.main([name, "--help"])
    assert left.value.code == 0
    assert len(capsys.readouterr().out.splitlines()) > 3


def test_flags_reach_the_command_and_its_exit_code_returns(monkeypatch: pytest.MonkeyPatch) -> None:
    called = []
    module = importlib.import_module(console.COMMANDS["eval"][0])
    monkeypatch.setattr(module, "main", lambda argv: called.append(argv) or 3)
    monkeypatch.setattr(sys, "argv", ["pytest"])
    with pytest.raises(SystemExit) as left:
        console.main(["eval", "--root-dir", "data"])
    assert (left.value.code, called) == (3, [["--root-dir", "data"]])
    assert sys.argv == ["llama-avsr eval", "--root-dir", "data"]


def test_an_unknown_command_is_an_error_with_a_suggestion(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        console.main(["trian"])
    assert left.value.code == 2
    assert "did you mean train?" in capsys.readouterr().err


def test_listing_the_commands_imports_nothing_heavy() -> None:
    """What takes time is what is imported; clocks are not asked."""
    code = (
        "import runpy, sys\nsys.argv[1:] = ['--help']\n"
        "try:\n    runpy.run_module('llama_avsr', run_name='__main__')\n"
        f"finally:\n    print('imported', sorted(set({HEAVY!r}) & set(sys.modules)))"
    )
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=root, check=True)
    assert all(name in done.stdout for name in EXPECTED)
    assert "imported []" in done.stdout


def test_recipes_are_found_from_any_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert read_config(Path("recipes/demo/asr.yaml"))["modality"][0] == "audio"
    mine = Path("recipes/demo/asr.yaml")
    mine.parent.mkdir(parents=True)
    mine.write_text("modality: video\n")
    assert read_config(mine)["modality"][0] == "video"
    assert recipes.located(Path("other.yaml")) == Path("other.yaml")
    with pytest.raises(ValueError, match=r"recipes/none\.yaml: cannot be read"):
        read_config(Path("recipes/none.yaml"))


def test_the_program_is_named_as_it_was_called(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["pytest"])
    with pytest.raises(SystemExit):
        console.main(["train", "--help"])
    assert "llama-avsr train" in capsys.readouterr().out
