"""What a result says of its origin, and what is said where another one differs."""

import json
import subprocess
from pathlib import Path

import pytest

from datamodules.batch import Utterance
from llama_avsr.commands import reproduce as command
from llama_avsr.evaluation import origin, reproduce
from llama_avsr.options import Options


def clip(folder, name, text="a b"):
    video = folder / f"{name}.mp4"
    video.write_bytes(b"0" * 10)
    return Utterance(
        id=f"own/{name}",
        video_path=video,
        audio_path=video.with_suffix(".wav"),
        num_frames=5,
        text=text,
        source="l:1",
    )


@pytest.fixture
def options(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "set" / "labels").mkdir(parents=True)
    (tmp_path / "set" / "labels" / "test.csv").write_text("own,a.mp4,5,,a b\n")
    (tmp_path / "babble.wav").write_bytes(b"noise")
    values = {"modality": "audio", "root_dir": "set", "test_file": ("test.csv",), "noise_file": "babble.wav"}
    return Options().updated({**values, "decode_snr_target": "0", "num_beams": 3, "normalise": "lower"})


def test_it_names_every_file_by_its_content(options, tmp_path):
    clips = [clip(tmp_path, "a"), clip(tmp_path, "b")]
    found = origin.origin(options, clips, "user/model", {"sha256": "0"})
    assert found["media"]["num_files"] == 2
    assert found["media"]["bytes"] == 20
    assert found["model"] == "user/model"
    assert found["noise"]["path"] == str(tmp_path / "babble.wav")
    assert found["options"]["data"]["root_dir"] == str(tmp_path / "set")
    assert origin.differences(found, origin.origin(options, clips, "elsewhere", {"sha256": "0"})) == []
    (tmp_path / "moved.wav").write_bytes(b"noise")
    moved = options.updated({"noise_file": "moved.wav"})
    assert origin.differences(found, origin.origin(moved, clips, "elsewhere", {"sha256": "0"})) == []
    several = options.updated({"noise_file": ("babble.wav", "speaker", str(tmp_path / "set"))})
    noise = origin.origin(several, clips, "user/model", {})["noise"]
    assert noise["1 babble"] == found["noise"]
    assert noise["2 speaker"] == {"kind": "speaker"}
    assert noise["3 set"]["num_files"] == 1
    (tmp_path / "babble.wav").write_bytes(b"other")
    (tmp_path / "b.wav").write_bytes(b"sound")
    clips[0] = clip(tmp_path, "a", "a c")
    changed = origin.origin(options.updated({"num_beams": 4}), clips, "user/model", {"sha256": "1"})
    assert [line.partition(":")[0] for line in origin.differences(found, changed)] == [
        "weights sha256",
        "clips",
        "media bytes",
        "media sha256",
        "noise sha256",
        "options decoding num_beams",
    ]


def test_the_commit_of_a_checkout_and_of_no_other(tmp_path, monkeypatch):
    head = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=Path(__file__).parent, capture_output=True, text=True, check=False
    )
    if head.returncode == 0:
        assert origin.program()["commit"] == head.stdout.strip()
        assert isinstance(origin.program()["dirty"], bool)
    monkeypatch.setattr(origin, "__file__", str(tmp_path / "llama_avsr" / "evaluation" / "origin.py"))
    assert origin.program()["commit"] is None
    monkeypatch.setenv("PATH", "")
    assert origin.program()["dirty"] is None


def test_options_come_back_as_they_were(options, tmp_path):
    found = json.loads(json.dumps(origin.origin(options, [clip(tmp_path, "a")], "runs/a", {})))
    again = reproduce.again(found, {"root_dir": Path("/data")})
    assert again.data.root_dir == Path("/data")
    assert again.augmentation.noise_file == (str(tmp_path / "babble.wav"),)
    assert again.augmentation.decode_snrs_db == (0.0,)
    assert (again.decoding.num_beams, again.scoring.normalise, again.modality) == (3, "lower", "audio")
    assert str(again.checkpoints.pretrained_model_path) == "runs/a"


def result(folder, hypotheses, wer, found):
    folder.mkdir(parents=True)
    rows = [f"{place},a b,{text}\n" for place, text in enumerate(hypotheses)]
    (folder / "hypotheses.csv").write_text("id,reference,hypothesis\n" + "".join(rows))
    (folder / "summary.json").write_text(json.dumps({"wer": wer}))
    origin.write(folder, found)


def test_what_differs_is_said(options, tmp_path, monkeypatch, capsys):
    first, second = tmp_path / "first", tmp_path / "first" / "again" / "test_0dB"
    found = origin.origin(options, [clip(tmp_path, "a")], "runs/a", {"sha256": "0"})
    result(first, ["a b", "a", "a b"], 16.7, found)
    result(second, ["a b", "b", "a b"], 16.7, {**found, "weights": {"sha256": "1"}})
    asked = {}

    def evaluate(options, explicit):
        asked.update(output=options.run.output_dir, beams=options.decoding.num_beams, explicit=explicit)
        return [second]

    monkeypatch.setattr(reproduce, "evaluate", evaluate)
    assert command.main([str(first)]) == 1
    assert capsys.readouterr().out.splitlines()[1:] == [
        '  weights sha256: "0" before, "1" now',
        "  hypotheses: 1 of 3 clips were written differently (1)",
    ]
    assert (asked["output"], asked["beams"]) == (first / "again", 3)
    assert {"num_beams", "modality", "noise_file", "pretrained_model_path"} <= asked["explicit"]
    assert reproduce.differing_scores(first, second) == []


def test_a_folder_without_an_origin_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"origin.json: found no such file"):
        command.main([str(tmp_path)])
    (tmp_path / "origin.json").write_text("{}")
    with pytest.raises(ValueError, match="expected model, options and label_file"):
        command.main([str(tmp_path)])
