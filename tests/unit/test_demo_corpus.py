"""The demo's data set on disk: whole, repeatable, resumable."""

import csv
import json
import shutil
import sys
import wave
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest

import prepare_data
from llama_avsr.demo.corpus import espeak, plan
from llama_avsr.demo.corpus import making as corpus_module
from llama_avsr.demo.corpus.making import make_corpus
from llama_avsr.demo.corpus.phones import PHONES
from llama_avsr.demo.corpus.plan import SPLITS

pytest.importorskip("espeakng_loader")
TINY = {"num_train": 5, "num_val": 2, "num_test": 2, "num_workers": 1, "show_progress": False}


@pytest.fixture(scope="module", autouse=True)
def taciturn():
    """Babblers who repeat themselves: the tests need no minute of each."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plan, "BABBLE_SENTENCES", 8)
        yield


@pytest.fixture(scope="module")
def corpus(taciturn, tmp_path_factory):
    return make_corpus(tmp_path_factory.mktemp("corpus"), **TINY)


def contents(root_dir: Path) -> dict[str, bytes]:
    return {str(p.relative_to(root_dir)): p.read_bytes() for p in root_dir.rglob("*") if p.is_file()}


def label_lines(corpus, split: str) -> list[list[str]]:
    return [line.split(",", 4) for line in corpus.label_path(split).read_text().splitlines()]


def test_labels_fit_the_media(corpus):
    for split in SPLITS:
        lines = label_lines(corpus, split)
        assert len(lines) == corpus.num_clips[split]
        for dataset, rel_path, num_frames, _, text in lines:
            video_path = corpus.root_dir / dataset / rel_path
            assert rel_path.startswith(f"demo_video_seg16s/{split}/")
            with av.open(str(video_path)) as container:
                assert sum(1 for _ in container.decode(video=0)) == int(num_frames)
            with wave.open(str(video_path.with_suffix(".wav"))) as file:
                assert file.getframerate() == 16000
                assert file.getnframes() == 640 * int(num_frames)
            text_path = corpus.root_dir / dataset / rel_path.replace("_video_", "_text_")
            assert text_path.with_suffix(".txt").read_text() == text + "\n"
            assert len(text.split()) == 6


def test_phone_times_cover_every_clip(corpus):
    with corpus.phones_path.open() as file:
        rows = list(csv.DictReader(file))
    by_clip: dict[str, list[dict[str, str]]] = {}
    for row in rows:
        by_clip.setdefault(row["utt"], []).append(row)
    lengths = {
        f"{dataset}/{rel_path}".removesuffix(".mp4"): int(num_frames) / 25
        for split in SPLITS
        for dataset, rel_path, num_frames, *_ in label_lines(corpus, split)
    }
    assert by_clip.keys() == lengths.keys()
    for utterance, phones in by_clip.items():
        assert all(phone["phone"] in PHONES for phone in phones)
        assert all(phone["end_s"] == following["start_s"] for phone, following in pairwise(phones))
        assert 0 <= lengths[utterance] - float(phones[-1]["end_s"]) < 0.04


def test_babble_is_a_minute_of_noise(corpus):
    with wave.open(str(corpus.babble_path)) as file:
        samples = np.frombuffer(file.readframes(file.getnframes()), dtype="<i2") / 32767
    assert len(samples) == 60 * 16000
    assert np.sqrt((samples**2).mean()) == pytest.approx(0.1, rel=0.05)
    seconds = np.sqrt((samples.reshape(60, -1) ** 2).mean(axis=1))
    assert seconds.min() > 0.04, "someone always speaks"
    assert np.abs(samples).max() <= 1


def test_a_finished_corpus_is_recognised(corpus):
    before = {path: path.stat().st_mtime_ns for path in corpus.root_dir.rglob("*")}
    again = make_corpus(corpus.root_dir, **TINY)
    assert again.was_there
    assert again.num_clips == corpus.num_clips
    assert before == {path: path.stat().st_mtime_ns for path in corpus.root_dir.rglob("*")}


@pytest.mark.slow
def test_the_number_of_workers_changes_nothing(corpus, tmp_path):
    make_corpus(tmp_path, **{**TINY, "num_workers": 2})
    assert contents(tmp_path) == contents(corpus.root_dir)


def test_a_small_corpus_starts_no_processes(tmp_path, monkeypatch):
    monkeypatch.setattr(corpus_module, "_available_cores", lambda: 8)
    monkeypatch.setattr(corpus_module, "ProcessPoolExecutor", None)
    assert not make_corpus(tmp_path, **{**TINY, "num_workers": None}).was_there


def test_an_interrupted_corpus_is_completed(corpus, tmp_path, monkeypatch):
    encoded = []

    def interrupted(path, frames, encoding):
        encoded.append(path)
        if len(encoded) == 4:
            raise KeyboardInterrupt
        write_video(path, frames, encoding)

    write_video = corpus_module.write_video
    monkeypatch.setattr(corpus_module, "write_video", interrupted)
    with pytest.raises(KeyboardInterrupt):
        make_corpus(tmp_path, **TINY)
    assert not (tmp_path / "corpus.json").exists()
    finished = list(tmp_path.rglob("*.mp4"))
    assert len(finished) == 3
    times = {path: path.stat().st_mtime_ns for path in finished}
    assert not make_corpus(tmp_path, **TINY).was_there
    assert len(encoded) == 4 + sum(corpus.num_clips.values()) - 3
    assert times == {path: path.stat().st_mtime_ns for path in finished}
    assert contents(tmp_path) == contents(corpus.root_dir)


def test_other_settings_replace_a_corpus(corpus, tmp_path):
    make_corpus(tmp_path, **{**TINY, "num_train": 2, "seed": 1})
    other = contents(tmp_path)
    make_corpus(tmp_path, **TINY)
    assert contents(tmp_path) == contents(corpus.root_dir)
    assert other["corpus.json"] != contents(tmp_path)["corpus.json"]
    assert json.loads((tmp_path / "corpus.json").read_text())["num_train"] == 5


def test_a_corpus_half_removed_is_made_anew(corpus, tmp_path, monkeypatch):
    shutil.copytree(corpus.root_dir, tmp_path, dirs_exist_ok=True)

    def interrupted(folder):
        next(folder.rglob("*.mp4")).unlink()
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", interrupted)
        with pytest.raises(KeyboardInterrupt):
            make_corpus(tmp_path, **{**TINY, "seed": 1})
    assert not make_corpus(tmp_path, **TINY).was_there
    assert contents(tmp_path) == contents(corpus.root_dir)


def test_a_folder_of_the_users_is_left_alone(tmp_path):
    (tmp_path / "demo").mkdir()
    (tmp_path / "demo" / "thesis.txt").write_text("mine")
    with pytest.raises(ValueError, match="has not made"):
        make_corpus(tmp_path, **TINY)
    assert contents(tmp_path) == {"demo/thesis.txt": b"mine"}


def test_without_espeak_nothing_is_written(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "espeakng_loader", None)
    espeak.installation.cache_clear()
    try:
        assert prepare_data.main(["demo", "--root-dir", str(tmp_path)]) == 2
    finally:
        espeak.installation.cache_clear()
    assert "llama-avsr[demo]" in capsys.readouterr().err
    assert contents(tmp_path) == {}


def test_the_command_says_where_everything_is(corpus, capsys):
    numbers = ["--num-train", "5", "--num-val", "2", "--num-test", "2"]
    assert prepare_data.main(["demo", "--root-dir", str(corpus.root_dir), *numbers]) == 0
    printed = capsys.readouterr().out
    assert "was there already" in printed
    for split in SPLITS:
        assert str(corpus.label_path(split)) in printed
    assert f"--noise-file {corpus.babble_path}" in printed


def test_quick_is_a_tenth(corpus, capsys):
    numbers = ["--num-train", "50", "--num-val", "11", "--num-test", "20", "--quick"]
    assert prepare_data.main(["demo", "--root-dir", str(corpus.root_dir), *numbers]) == 0
    assert "was there already" in capsys.readouterr().out


def test_the_command_explains_mistakes(tmp_path, capsys):
    assert prepare_data.main(["demo", "--root-dir", str(tmp_path), "--num-train", "-1"]) == 2
    assert "--num-train: expected a number of at least 1, found -1" in capsys.readouterr().err
