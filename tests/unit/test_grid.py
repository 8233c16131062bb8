"""Grids of conditions: which tests they are, and their tables."""

import csv
import json

import pytest

from llama_avsr.commands.bench import PROGRAM
from llama_avsr.evaluation import grid
from llama_avsr.evaluation.metrics import score
from llama_avsr.evaluation.report import Evaluation
from llama_avsr.options import Options
from llama_avsr.options.checks import problems


def told(options, explicit=()):
    return [
        (
            condition["test_file"][0],
            condition["decode_snr_target"][0],
            (*condition["test_noise"], "-")[0],
            condition["test_damage"][0],
        )
        for condition in grid.conditions(Options().updated(options), explicit)
    ]


def test_as_before_without_a_grid():
    both = {"modality": "audiovisual", "test_file": ("a", "b"), "decode_snr_target": ("clean", 0)}
    assert told(both) == [
        ("a", "clean", "-", "none"),
        ("a", 0.0, "-", "none"),
        ("b", "clean", "-", "none"),
        ("b", 0.0, "-", "none"),
    ]
    assert told({"modality": "video", "test_file": ("a",)}) == [("a", "clean", "-", "none")]


def test_lists_are_crossed_and_clean_sound_comes_once():
    asked = {
        "modality": "audiovisual",
        "test_file": ("a",),
        "decode_snr_target": ("clean", 0),
        "test_noise": ("white", "pink"),
        "test_damage": ("none", "blur"),
    }
    assert told(asked) == [
        ("a", snr, noise, damage)
        for damage in ("none", "blur")
        for snr, noise in (("clean", "-"), (0.0, "white"), (0.0, "pink"))
    ]


def test_the_grid_fills_what_is_not_given():
    asked = {"modality": "audiovisual", "test_file": ("a",), "noise_grid": True, "noise_file": "babble.wav"}
    found = told(asked)
    assert len(found) == len(set(found)) == 1 + 4 * 4 + 10
    assert ("a", -5.0, "babble.wav", "none") in found
    assert {row[:3] for row in found if row[3] != "none"} == {("a", "clean", "-")}
    given = {**asked, "test_noise": ("pink",), "decode_snr_target": (0,), "test_damage": ("none", "late")}
    assert told(given, ("test_noise", "decode_snr_target", "test_damage")) == [
        ("a", 0.0, "pink", "none"),
        ("a", "clean", "-", "late"),
    ]
    assert {row[3] for row in told({**asked, "modality": "audio"})} == {"none"}
    video = told({**asked, "modality": "video"})
    assert [row[3] for row in video] == ["none", *grid.PICTURES]


def test_each_condition_is_a_test_of_its_own():
    options = Options().updated({"modality": "audiovisual", "test_file": ("a",), "noise_grid": True})
    for condition in grid.conditions(options, ()):
        assert grid.conditions(options.updated(condition), ()) == [condition]


def test_what_does_not_fit_is_refused():
    for modality, damage, needs in (("video", "late", "sound and picture"), ("audio", "blur", "a picture")):
        options = Options().updated({"modality": modality, "test_damage": (damage,)})
        with pytest.raises(ValueError, match=f"--test-damage {damage} needs a model that takes {needs}"):
            grid.conditions(options, ())
    model = {"modality": "audio", "audio_encoder_name": "w", "llm_model": "l"}
    found = problems(Options().updated({**model, "test_noise": ("white",)}), "eval")
    assert found == ["--test-noise white needs --decode-snr-target, the SNRs to test at"]
    assert problems(Options().updated({**model, "noise_grid": True, "decode_snr_target": 0}), "eval") == []


def evaluation(snr_db, noise, damage="none", wrong=1):
    references = ["a b c d e f g h i j"] * 3
    hypotheses = [" ".join(["x"] * wrong + references[0].split()[wrong:])] * 3
    return Evaluation(
        ids=["1", "2", "3"],
        references=references,
        hypotheses=hypotheses,
        result=score(references, hypotheses),
        model="m",
        label_file="test_a.csv",
        speech_seconds=3.0,
        decode_seconds=1.0,
        num_devices=2,
        peak_memory_gib=1.5,
        snr_db=snr_db,
        noise=noise,
        damage=damage,
    )


def test_tables(tmp_path):
    evaluations = [
        evaluation(None, None),
        *(
            evaluation(snr, noise, wrong=wrong)
            for noise in ("white", "pink")
            for snr, wrong in ((0.0, 3), (10.0, 2))
        ),
        evaluation(None, None, "blur", 4),
    ]
    grid.write(tmp_path, evaluations)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        f"grid.{suffix}" for suffix in ("csv", "json", "md", "png", "tex")
    ]
    header, _, *rows = (tmp_path / "grid.md").read_text().splitlines()
    cells = [[cell.strip() for cell in row.strip("|").split("|")] for row in (header, *rows)]
    assert cells[0] == ["test set", "WER", "clean", "10 dB", "0 dB", "RTF", "device s", "GiB"]
    assert cells[1] == ["test_a.csv", "clean", "10.0 [10.0, 10.0]", "-", "-", "0.333", "2.0", "1.50"]
    # What a row took is the sum of its conditions, of memory the most.
    assert cells[2][2:] == ["-", "20.0 [20.0, 20.0]", "30.0 [30.0, 30.0]", "0.333", "4.0", "1.50"]
    assert cells[4][:3] == ["test_a.csv", "blur", "40.0 [40.0, 40.0]"]
    tex = (tmp_path / "grid.tex").read_text()
    assert r"test\_a.csv & white & - & 20.0 [20.0, 20.0] & 30.0 [30.0, 30.0] & 0.333 & 4.0 & 1.50 \\" in tex
    assert tex.startswith("\\begin{tabular}{llrrrrrr}\n\\toprule\n")
    with (tmp_path / "grid.csv").open(newline="") as file:
        table = list(csv.DictReader(file))
    assert [(row["noise"], row["snr_db"], row["damage"]) for row in table][-2:] == [
        ("pink", "10", "none"),
        ("", "", "blur"),
    ]
    assert {(row["device_seconds"], row["peak_memory_gib"]) for row in table} == {("2.0", "1.5")}
    found = json.loads((tmp_path / "grid.json").read_text())
    assert [one["device_seconds"] for one in found] == [2.0] * 6
    assert [one["wer"] for one in found] == [10, 30, 20, 30, 20, 40]
    assert evaluations[1].condition == "0 dB white"
    assert evaluations[-1].condition == "clean, blur"


def test_a_panel_for_loggers(tmp_path):
    evaluations = [evaluation(None, None), evaluation(5.0, "white"), evaluation(-2.5, "white", wrong=2)]
    found = grid.panel(evaluations, grid.write(tmp_path, evaluations))
    assert found.lines == {"white": {-2.5: 20.0, 5.0: 10.0}}
    assert found.picture.is_file()
    assert [dict(zip(found.header, row, strict=True))["snr_db"] for row in found.rows] == [None, 5, -2.5]
    assert found.markdown in (tmp_path / "grid.md").read_text()
    assert grid.panel(evaluations[:1], tmp_path).picture is None


def test_bench_is_an_evaluation_on_the_grid():
    assert PROGRAM.default_options().augmentation.noise_grid
    assert PROGRAM.name == "eval"
