"""prepare_data.py validate: every problem is found, a sound set passes, --fix leaves a sound one."""

import json
import re
import shutil

import numpy as np
import pytest

import prepare_data
from datamodules import formats
from preparation.labels import files as label_files
from preparation.labels.validate import load
from tests.unit.media_files import moving_bar, tone, write_corpus, write_video, write_wav

FOLDER = "toy/toy_video_seg24s/main"


def run(root, *arguments):
    return prepare_data.main(
        ["validate", "--root-dir", str(root), "--num-workers", "1", *map(str, arguments)]
    )


@pytest.fixture(scope="module")
def sound_root(tmp_path_factory):
    root = tmp_path_factory.mktemp("sound")
    write_corpus(root, [30, 40, 50, 60])
    return root


@pytest.fixture
def root(sound_root, tmp_path):
    return shutil.copytree(sound_root, tmp_path / "root")


def line(name, num_frames, text, ignored="0"):
    return f"toy,toy_video_seg24s/main/{name}.mp4,{num_frames},{ignored},{text}\n"


def found_in(path):
    """kind -> lines of the .json report."""
    found = {}
    for problem in json.loads(path.read_text())["problems"]:
        found.setdefault(problem["kind"], []).append(problem["line"])
    return found


def test_a_sound_set_passes(root, tmp_path, capsys):
    for flags in ([], ["--deep"]):
        assert run(root, "train.csv", "--json", tmp_path / "report.json", *flags) == 0
    said = capsys.readouterr().out
    assert "4 clips, 4 without problems" in said
    assert "frames      min 30  median 45  mean 45  95% 60  max 60" in said
    assert "1.0 -   1.5 s       1 ####" in said
    assert "12 words, 6 different" in said
    assert "'0' 1 '1' 1 '2' 1 '3' 1" in said
    assert said.rstrip().split("\n")[-2] == "no problem found"
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["problems"] == []
    assert report["files"][0]["hours"] == pytest.approx(180 / 25 / 3600)
    assert report["files"][0]["histogram"] == [[1.0, 1.5, 1], [1.5, 2.0, 1], [2.0, 2.5, 2]]


def break_everything(root):
    """Eleven lines, of which the first and the last are sound."""
    folder = root / FOLDER
    (folder / "0001.mp4").write_bytes(b"no video at all")
    write_wav(folder / "quiet.wav", 1e-4 * tone(640 * 30))
    write_video(folder / "quiet.mp4", moving_bar(30))
    write_video(folder / "face.mp4", moving_bar(30, side=300), waveform=tone(640 * 30))
    write_video(folder / "mute.mp4", moving_bar(30))
    lines = [
        line("0000", 30, "Clip, number zero"),
        line("0001", 40, "unreadable video"),
        line("0002", 30, "other length"),
        line("missing", 30, "missing media"),
        line("0000", 30, "there twice"),
        line("quiet", 30, "silent sound"),
        line("face", 30, "no mouth crop"),
        line("mute", 30, "no sound at all"),
        "toy,too few columns\n",
        line("0003", 60, " "),
        line("0003", 60, "sound"),
    ]
    path = root / "labels" / "broken.csv"
    path.write_text("".join(lines))
    return path


def test_every_problem_is_found(root, tmp_path, capsys):
    break_everything(root)
    assert run(root, "broken.csv", "--json", tmp_path / "report.json") == 1
    assert found_in(tmp_path / "report.json") == {
        "unreadable media": [2, 8],
        "length differs from the label": [3, 3],
        "missing media": [4],
        "duplicate clip": [5],
        "silent sound": [6],
        "not a mouth crop": [7],
        "unreadable line": [9],
        "empty text": [10],
    }
    said = capsys.readouterr().out
    assert "11 clips, 2 without problems" in said
    assert "broken.csv:6:" in said
    assert re.search(r"quiet\.wav: -\d\d dB, expected -60 or more", said)
    assert "9 lines have problems" in said


def test_fix_leaves_a_sound_set(root, tmp_path, capsys):
    path = break_everything(root)
    clean = tmp_path / "clean.csv"
    assert run(root, path, "--fix", clean) == 1
    assert clean.read_text() == line("0000", 30, "Clip, number zero") + line("0003", 60, "sound")
    assert run(root, clean, "--deep") == 0
    assert len(formats.read(clean, root)) == 2
    capsys.readouterr()
    assert run(root, path, "--fix", path) == 2
    assert "expected another name" in capsys.readouterr().err
    assert run(root, path, "--fix", tmp_path / "clean.tsv") == 2
    assert "expected a name that ends in .csv" in capsys.readouterr().err
    only_bad = root / "labels" / "bad.csv"
    only_bad.write_text(line("missing", 30, "x"))
    assert run(root, only_bad, "--fix", tmp_path / "none.csv") == 2
    assert "no clip of" in capsys.readouterr().err
    assert not (tmp_path / "none.csv").exists()


def test_deep_finds_what_headers_hide(root, capsys):
    video = root / FOLDER / "0003.mp4"
    whole = write_video(video, moving_bar(60), movflags="faststart").read_bytes()
    video.write_bytes(whole[: len(whole) * 2 // 3])
    assert run(root, "train.csv") == 0
    assert run(root, "train.csv", "--deep") == 1
    assert "train.csv:4:" in capsys.readouterr().out


def test_which_media_are_looked_at(root):
    for video in (root / FOLDER).glob("*.mp4"):
        video.unlink()
    assert run(root, "train.csv") == 1
    assert run(root, "train.csv", "--media", "audio") == 0
    for sound in (root / FOLDER).glob("*.wav"):
        write_wav(sound, np.zeros(640 * 30))
    assert run(root, "train.csv", "--media", "audio") == 1


def test_other_lengths_within_the_tolerance_pass(root, capsys):
    path = root / "labels" / "off.csv"
    path.write_text(line("0000", 32, "two less") + line("0001", 38, "two more"))
    assert run(root, path, "--deep") == 0
    path.write_text(line("0000", 33, "three less") + line("0001", 37, "three more"))
    assert run(root, path) == 1
    assert "found" not in capsys.readouterr().err


def test_overlap_of_training_and_test(root, tmp_path, capsys):
    labels = root / "labels"
    (labels / "a.csv").write_text(line("0000", 30, "same clip") + line("0001", 40, "Same  text"))
    (labels / "b.csv").write_text(line("0000", 30, "other words") + line("0002", 50, "same text"))
    assert run(root, "a.csv", "b.csv", "--json", tmp_path / "r.json", "--fix", tmp_path / "clean") == 1
    assert found_in(tmp_path / "r.json") == {
        "clip also in another label file": [1],
        "text also in another label file": [2],
    }
    said = capsys.readouterr().out
    assert "worth a look:" in said
    assert "1 lines have problems" in said
    assert (tmp_path / "clean/a.csv").read_text() == line("0001", 40, "Same  text")
    assert (tmp_path / "clean/b.csv").read_text() == (labels / "b.csv").read_text()
    assert run(root, tmp_path / "clean/a.csv", tmp_path / "clean/b.csv") == 0
    # One file named twice does not overlap with itself.
    assert run(root, "a.csv", "a.csv") == 0


def test_a_file_that_cannot_be_read_at_all(root, capsys):
    (root / "labels" / "empty.csv").write_text("")
    assert run(root, "empty.csv", "train.csv") == 1
    said = capsys.readouterr().out
    assert "unreadable file" in said
    assert "train.csv: 4 clips, 4 without problems" in said
    assert run(root, "nowhere.csv") == 2
    assert "no label file at" in capsys.readouterr().err


def test_bytes_that_are_no_utf8_cost_their_line_alone(root):
    path = root / "labels" / "latin.csv"
    path.write_bytes(line("0000", 30, "fine").encode() + line("0001", 40, "café").encode("latin-1") + b"\n\n")
    checked = load(path, root, ("audio", "video"))
    assert [utterance.text for utterance in checked.utterances] == ["fine"]
    assert next((problem.line, problem.kind) for problem in checked.problems) == (
        2,
        "unreadable line",
    )


def test_text_that_nobody_can_say_is_worth_a_look(root, capsys):
    path = root / "labels" / "fast.csv"
    path.write_text(line("0000", 30, "far too much " * 10))
    assert run(root, path) == 0
    assert "text too long for its clip" in capsys.readouterr().out


def test_manifests_are_copied_with_what_lies_beside(tmp_path):
    path = tmp_path / "train.tsv"
    path.write_bytes(b".\n" + b"".join(b"row%d\n" % number for number in range(4)))
    path.with_suffix(".wrd").write_bytes("a\nö\nc\nd\n".encode("latin-1"))
    path.with_suffix(".cluster_counts").write_bytes(b"1\n2\n3\n4")
    assert label_files.clip_lines(path) == [2, 3, 4, 5]
    written = label_files.copy(path, tmp_path / "clean.tsv", leave_out={2, 4})
    assert [file.suffix for file in written] == [".tsv", ".wrd", ".cluster_counts"]
    assert [file.read_bytes() for file in written] == [b".\nrow1\nrow3\n", b"\xf6\nd\n", b"2\n4\n"]


def test_manifests_are_validated(root, tmp_path):
    pytest.importorskip("datamodules.formats.avhubert_tsv")
    path = root / "labels" / "train.tsv"
    rows = [
        f"toy/en-{language}\t{FOLDER}/{name}.mp4\t{FOLDER}/{name}.wav\t{num_frames}\t{640 * num_frames}\n"
        for language, name, num_frames in [
            ("en", "0000", 30),
            ("es", "0000", 30),
            ("en", "missing", 30),
            ("en", "0001", "x"),
            ("en", "0002", 50),
            ("en", "0000", 30),
        ]
    ]
    path.write_text(".\n" + "".join(rows))
    path.with_suffix(".wrd").write_text("one\nuno\ntwo\nthree\n\nagain\n")
    assert run(root, path, "--json", tmp_path / "r.json", "--fix", tmp_path / "clean.tsv") == 1
    assert found_in(tmp_path / "r.json") == {
        "missing media": [4],
        "unreadable line": [5],
        "empty text": [6],
        "duplicate clip": [7],
    }
    assert (tmp_path / "clean.wrd").read_text() == "one\nuno\n"
    assert run(root, tmp_path / "clean.tsv") == 0


def test_paths_of_another_machine_are_rewritten(root, capsys):
    path = root / "labels" / "published.tsv"
    clip = f"/path/to/{FOLDER}/0000"
    path.write_text(f"/\ntoy/en-es\t{clip}.mp4\t{clip}.wav\t30\t19200\n")
    path.with_suffix(".wrd").write_text("hola\n")
    assert run(root, path) == 1
    assert "missing media" in capsys.readouterr().out
    assert run(root, path, "--path-prefix", f"/path/to={root}") == 0
    assert run(root, path, "--path-prefix", "/path/to=") == 0
    assert run(root, path, "--path-prefix", "/path/to") == 2
    assert "expected a path prefix OLD=NEW" in capsys.readouterr().err


def test_units_need_their_frames(root, capsys):
    path = root / "labels" / "units.tsv"
    path.write_text(f".\ntoy/en-en\t{FOLDER}/0000.mp4\t{FOLDER}/0000.wav\t31\t19200\n")
    path.with_suffix(".wrd").write_text("fine\n")
    assert run(root, path) == 0
    path.with_suffix(".cluster_counts").write_text("30 1\n")
    assert run(root, path) == 1
    assert "expected 31 frames of 25 fps, found 30" in capsys.readouterr().out


def test_lines_are_left_out_whatever_ends_them(tmp_path):
    for end in (b"\r", b"\r\n", b"\n"):
        path = tmp_path / "in.csv"
        path.write_bytes(end.join([b"a", b"b", b"c"]))
        assert label_files.clip_lines(path) == [1, 2, 3]
        label_files.copy(path, tmp_path / "out.csv", {2})
        assert (tmp_path / "out.csv").read_bytes() == b"a" + end + b"c\n"
