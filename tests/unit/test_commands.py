"""Every command's line of flags: its help, unknown and missing flags, and the values that flags take."""

from __future__ import annotations

import importlib
import re
import runpy
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from datamodules import registry
from llama_avsr import __main__ as console
from llama_avsr import cli
from llama_avsr.boundary import code_of
from llama_avsr.commands import prepare
from llama_avsr.commands.prepare._faces import detector_options
from llama_avsr.options import Options
from llama_avsr.options.programs import Program
from tests.unit.test_import_direction import HEAVY

ROOT = Path(__file__).parents[2]
PREPARE = "llama_avsr.commands.prepare"
STEPS = [("units", step) for step in registry.names(f"{PREPARE}.units")]
COMMANDS = [(name,) for name in registry.names(PREPARE) if name != "units"] + STEPS
OTHERS = {
    "score": "llama_avsr.commands.score",
    "report": "llama_avsr.commands.report",
    "reproduce": "llama_avsr.commands.reproduce",
    "compare": "llama_avsr.commands.compare",
    "export": "llama_avsr.commands.export",
    "convert": "llama_avsr.commands.convert",
    "push": "llama_avsr.commands.push",
    "demo": "llama_avsr.demo.recognition",
    "demo translation": "llama_avsr.demo.translation",
    "demo_pretrain": "llama_avsr.demo.pretrain.__main__",
}


def module_of(words: tuple[str, ...]) -> ModuleType:
    return importlib.import_module(".".join((PREPARE, *map(registry.module_name, words))))


def program(name: str) -> tuple[Program, Callable[[list[str]], int | None]]:
    if name in OTHERS:
        module = importlib.import_module(OTHERS[name])
        return module.PROGRAM, module.main
    words = name.split()[1:]
    return module_of(tuple(words)).PROGRAM, lambda argv: prepare.main([*words, *argv])


NAMES = [*(" ".join(("prepare", *words)) for words in COMMANDS), *OTHERS]


def parse(words: str, *flags: object) -> Options:
    """What a prepare command makes of its flags."""
    return cli.parse([str(flag) for flag in flags], module_of(tuple(words.split())).PROGRAM).options


def test_all_are_there() -> None:
    assert {"folder", "lrs2", "lrs3", "vox2", "crop", "validate", "convert", "demo"} <= {
        words[0] for words in COMMANDS
    }
    assert {step for _, step in STEPS} == {"extract", "fit", "apply", "convert"}


@pytest.mark.parametrize("name", NAMES)
def test_help_lists_every_flag(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    described, main = program(name)
    with pytest.raises(SystemExit) as left:
        main(["--help"])
    text = capsys.readouterr().out
    assert left.value.code == 0
    assert max(map(len, text.splitlines())) <= 100
    counting = [f for f in described.schema.fields.values() if f.scope.counts_in(described.name)]
    heads = re.findall(r"^  (--[\w-]+|[A-Z_]+)\b", text, re.MULTILINE)
    expected = [f.name.upper() if f.scope.positional else f.flag for f in counting]
    assert len(expected) > 1
    assert sorted(heads) == sorted([*expected, "--config", "--print-config"])
    assert all(f.help.endswith(".") for f in counting)


@pytest.mark.parametrize("name", NAMES)
def test_an_unknown_flag_is_refused_with_the_right_one(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    described, main = program(name)
    flag = next(
        f.flag
        for f in described.schema.fields.values()
        if f.scope.counts_in(described.name) and not f.scope.positional and len(f.name) > 4
    )
    wrong = f"{flag[:-1]}{flag[-1] * 2}"
    assert code_of(lambda: main([wrong, "1"]), "program") == 2
    assert f"unknown flag {wrong}; did you mean {flag}?" in capsys.readouterr().err


@pytest.mark.parametrize("name", NAMES)
def test_what_is_missing_is_named(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    described, main = program(name)
    needed = [f for f in described.schema.fields.values() if f.scope.is_needed_by(described.name)]
    if not needed:
        assert name.startswith("demo")
        return
    assert code_of(lambda: main([]), "program") == 2
    said = capsys.readouterr().err
    for field in needed:
        assert f"{field.name.upper() if field.scope.positional else field.flag} is missing:" in said


SET = ("--source-dir", "s", "--root-dir", "r")
FIT = ("--features-dir", "f", "--split", "s", "--out", "o.npz")
LABELS = ("a.csv", "b.tsv", "--root-dir", "r")


@pytest.mark.parametrize(
    ("command", "flags", "name", "value"),
    [
        ("folder", (*SET, "--label-format", "5-column", "tsv"), "label_format", ("5-column", "tsv")),
        ("folder", (*SET, "--label_format=4-column,tsv"), "label_format", ("4-column", "tsv")),
        ("folder", SET, "lowercase", None),
        ("folder", (*SET, "--no-lowercase"), "lowercase", False),
        ("folder", (*SET, "--lowercase"), "lowercase", True),
        ("lrs3", SET, "lowercase", True),
        ("lrs3", (*SET, "--no-sound"), "sound", False),
        ("lrs3", (*SET, "--no_sound"), "sound", False),
        ("lrs3", (*SET, "--speaker", "2"), "speaker", 2),
        ("lrs3", (*SET, "--speaker", "talking"), "speaker", "talking"),
        ("lrs3", SET, "speaker", "largest"),
        ("lrs3", SET, "detect_every", 6),
        ("crop", ("a.mp4", "--root-dir", "r", "--detect-every", "1"), "detect_every", 1),
        ("lrs2", (*SET, "--subset", "train", "val"), "subset", ("train", "val")),
        ("folder", (*SET, "--val-share", "1"), "val_share", 1.0),
        ("crop", ("a b.mp4", "--root-dir", "r", "c, d"), "videos", (Path("a b.mp4"), Path("c, d"))),
        ("convert", LABELS, "media", ("audio", "video")),
        ("convert", (*LABELS, "--media", "video"), "media", ("video",)),
        ("convert", (*LABELS, "--no-media-check"), "media_check", False),
        (
            "convert",
            (*LABELS, "--lang", "en-es", "--lang", "en-en", "en-fr"),
            "lang",
            ("en-es", "en", "en-fr"),
        ),
        ("convert", (*LABELS, "--path-prefix", "/a b=/c", "/d,e=/f"), "path_prefix", ("/a b=/c", "/d,e=/f")),
        (
            "validate",
            ("a.tsv", "--root-dir", "r", "--path-prefix", "a=b", "--path-prefix", "c=d"),
            "path_prefix",
            ("a=b", "c=d"),
        ),
        ("validate", ("a.tsv", "--silence-db", "-50", "--root-dir", "r"), "silence_db", -50.0),
        ("units fit", FIT, "percent", 0.1),
        ("units fit", (*FIT, "--percent", "all"), "percent", "all"),
        ("units fit", (*FIT, "--percent", "-1"), "percent", "-1"),
        ("units fit", (*FIT, "--percent", "1"), "percent", 1.0),
    ],
)
def test_values(command: str, flags: tuple, name: str, value: object) -> None:
    schema = module_of(tuple(command.split())).PROGRAM.schema
    found = schema.get(parse(command, *flags), name)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("command", "flags", "said"),
    [
        ("folder", (*SET, "--val-share", "1.5"), "--val-share: .*1.5"),
        ("folder", (*SET, "--val-share", "0.6", "--test-share", "0.6"), "--val-share and --test-share"),
        ("folder", (*SET, "--languages", "english"), "--languages: .*en-es.*english"),
        ("folder", (*SET, "--dataset", "a/b"), "--dataset: .*'a/b'"),
        ("folder", (*SET, "--speaker", "0"), "--speaker: "),
        ("folder", (*SET, "--detect-every", "0"), "--detect-every: "),
        ("folder", (*SET, "--detector", "mediapip"), "did you mean mediapipe"),
        ("folder", (*SET, "--groups", "0"), "--groups: "),
        ("lrs3", (*SET, "--subset", "val"), "--subset: .*train, test"),
        ("convert", (*LABELS, "c.tsv"), "unexpected 'c.tsv'"),
        ("units fit", ("--percent", "2"), "--percent: "),
    ],
)
def test_wrong_values(command: str, flags: tuple, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        parse(command, *flags)


def test_a_command_reads_yaml(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / "lrs3.yaml"
    described = module_of(("lrs3",)).PROGRAM
    with pytest.raises(SystemExit):
        cli.parse([*SET, "--speaker", "2", "--no-sound", "--print-config"], described)
    config.write_text(capsys.readouterr().out)
    assert parse("lrs3", "--config", config) == parse("lrs3", *SET, "--speaker", "2", "--no-sound")


def test_detectors_bring_options_of_their_own() -> None:
    chosen = detector_options(parse("lrs3", *SET, "--detector", "landmarks", "--landmarks", "dir"))
    assert (chosen.name, chosen.own) == ("landmarks", {"landmarks": Path("dir")})
    described = module_of(("lrs3",)).PROGRAM
    [note] = cli.parse([*SET, "--landmarks", "dir", "--detector", "mediapipe"], described).notes
    assert "--landmarks" in note
    options = Options().updated({"detector": "landmarks", "landmarks": "dir"})
    assert options.of("detectors", "landmarks") == {"landmarks": Path("dir")}
    assert options.chooses("detectors", "landmarks")
    assert not options.chooses("detectors", "mediapipe")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["foldr", "--help"], "did you mean folder?"),
        (["units", "extrakt"], "did you mean extract?"),
        (["nothing"], "There are: babble, convert, crop"),
    ],
)
def test_a_wrong_command_is_refused(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert prepare.main(words) == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("words", [(), ("units",)])
def test_commands_are_listed(words: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    assert prepare.main([*words, "--help"], "prepare_data.py") == 0
    text = capsys.readouterr().out
    assert text.startswith(" ".join(("usage: prepare_data.py", *words, "COMMAND")))
    assert max(map(len, text.splitlines())) <= 100
    known = registry.names(".".join((PREPARE, *words)))
    assert re.findall(r"^  ([\w-]+) +\w", text, re.MULTILINE) == known
    assert prepare.main([*words]) == 2


@pytest.mark.parametrize(
    ("words", "usage"),
    [
        (["prepare", "folder"], "usage: llama-avsr prepare folder [flags]"),
        (["prepare", "units", "fit"], "usage: llama-avsr prepare units fit [flags]"),
        (["demo", "translation"], "usage: llama-avsr demo translation [flags]"),
        (["push"], "usage: llama-avsr push MODEL NAME [flags]"),
    ],
)
def test_usage_names_the_program_as_it_was_called(
    words: list[str], usage: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["pytest"])
    with pytest.raises(SystemExit):
        console.main([*words, "--help"])
    assert capsys.readouterr().out.startswith(usage)


def test_listing_imports_nothing_heavy() -> None:
    code = (
        "import sys, prepare_data\ncode = prepare_data.main(['--help'])\n"
        f"print('imported', sorted(set({(*HEAVY, 'yaml', 'llama_avsr.options')!r}) & set(sys.modules)), code)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.splitlines()[-1] == "imported [] 0"


@pytest.mark.parametrize(
    ("words", "head"),
    [
        (["llama_avsr.export", "--help"], "  OUT_DIR"),
        (["llama_avsr.released", "convert", "--help"], "  RELEASED"),
        (["llama_avsr.demo_vsp", "--help"], "  --exp-dir PATH"),
    ],
)
def test_module_names_of_before(
    words: list[str], head: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What `python -m` does with them; in this process, which has the libraries."""
    monkeypatch.setattr(sys, "argv", list(words))
    with pytest.raises(SystemExit) as left:
        runpy.run_module(words[0], run_name="__main__", alter_sys=True)
    assert left.value.code in (0, None)
    assert head in capsys.readouterr().out.splitlines()
