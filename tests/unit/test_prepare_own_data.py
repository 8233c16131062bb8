"""prepare_data.py vox2 and folder: a model's transcripts, subtitles, texts, and what cannot be used."""

import json
import os
from pathlib import Path

import pytest

from datamodules import formats
from datamodules.media import load_audio, load_video
from preparation.datasets import folder
from tests.unit.media_files import moving_bar, tone, write_video
from tests.unit.preparation_sets import (
    CUES,
    count_made,
    file_names,
    label_lines,
    run_command,
    write_folder,
    write_source_video,
    write_vox2,
)

NAME = "transcript_lengths_seg2s"


@pytest.fixture
def counted(monkeypatch):
    return count_made(monkeypatch)


def test_vox2_with_a_models_transcripts(tmp_path, counted, capsys):
    source, root = write_vox2(tmp_path / "source"), tmp_path / "root"
    assert run_command("vox2", source, root) == 0
    to_transcribe = label_lines(root, "vox2_train_to_transcribe_seg2s.csv")
    names = [line.split(",")[1] for line in to_transcribe]
    lengths = [int(line.split(",")[2]) for line in to_transcribe]
    assert names == [
        f"vox2_video_seg2s/dev/id1/vid/{name}.mp4" for name in ("00001_00", "00001_01", "00002_00")
    ]
    assert (lengths[0] + lengths[1], lengths[2]) == (60, 20)
    assert all(line.endswith(",0,") for line in to_transcribe)
    assert "3 clips without text: see --transcripts" in capsys.readouterr().out
    assert file_names(root, "vox2/vox2_text*/**/*") == []
    heard = tmp_path / "hypotheses.csv"
    rows = [f"vox2/{names[0].removesuffix('.mp4')},Hello there.", "id1/vid/00002,Bye!", "id1/vid/00009,No"]
    heard.write_text("id,hypothesis\n" + "\n".join(rows) + "\n")
    counted.clear()
    assert run_command("vox2", source, root, "--transcripts", heard) == 0
    assert counted == []
    assert label_lines(root, f"vox2_train_{NAME}_LLM_lowercase.csv") == [
        f"vox2,{names[0]},{lengths[0]},0,hello there",
        f"vox2,{names[2]},20,0,bye",
    ]
    assert label_lines(root, "vox2_train_to_transcribe_seg2s.csv") == [f"vox2,{names[1]},{lengths[1]},0,"]
    assert (root / "vox2/vox2_text_seg2s/dev/id1/vid/00001_00.txt").read_text() == "HELLO THERE\n"


def test_vox2_cut_by_the_words_of_a_model(tmp_path):
    source, root = write_vox2(tmp_path / "source"), tmp_path / "root"
    words = [{"word": "Hello,", "start": 0.2, "end": 0.6}, {"word": "there!", "start": 1.8, "end": 2.2}]
    heard = tmp_path / "heard.json"
    heard.write_text(json.dumps({"id1/vid/00001": {"words": words}, "id1/vid/00002": "Bye"}))
    assert run_command("vox2", source, root, "--transcripts", heard) == 0
    assert label_lines(root, f"vox2_train_{NAME}_LLM_lowercase.csv") == [
        "vox2,vox2_video_seg2s/dev/id1/vid/00001_00.mp4,30,0,hello",
        "vox2,vox2_video_seg2s/dev/id1/vid/00001_01.mp4,30,0,there",
        "vox2,vox2_video_seg2s/dev/id1/vid/00002_00.mp4,20,0,bye",
    ]
    assert not (root / "labels/vox2_train_to_transcribe_seg2s.csv").exists()


def test_folder(tmp_path, capsys):
    source, root = write_folder(tmp_path / "my talks"), tmp_path / "root"
    assert run_command("folder", source, root) == 0
    assert label_lines(root, f"my_talks_train_{NAME}_LLM_lowercase.csv") == [
        "my_talks,my_talks_video_seg2s/train/more/b.mp4,20,0,well that's it",
        "my_talks,my_talks_video_seg2s/train/talk_one_00.mp4,20,0,good morning everybody",
        "my_talks,my_talks_video_seg2s/train/talk_one_01.mp4,15,0,it's 5 o'clock",
    ]
    # 30 frames of 30 fps are 25.
    assert label_lines(root, f"my_talks_test_{NAME}_LLM_lowercase.csv") == [
        "my_talks,my_talks_video_seg2s/test/c.mp4,25,0,the end"
    ]
    assert "1 no text beside it; train/silent_film" in capsys.readouterr().out
    for path in (root / "labels").glob("*.csv"):
        for utterance in formats.read(path, root):
            assert len(load_video(utterance.video_path)) == utterance.num_frames
            assert len(load_audio(utterance.audio_path)) == 640 * utterance.num_frames


def test_folder_verbatim_and_held_out(tmp_path):
    source = tmp_path / "talks"
    for number in range(12):
        write_source_video(source / f"{number}.mp4", 10, seed=number)
        (source / f"{number}.txt").write_text(f"Clip {number}, as written!\n")
    write_source_video(source / "no sound.mp4", 10, sound=False)
    (source / "no sound.txt").write_text("(hm)")
    flags = ("--verbatim", "--val-share", "0.3", "--test-share", "0.3", "--no-sound", "--dataset", "mine")
    # The prepared set may lie in the folder itself.
    for _ in range(2):
        assert run_command("folder", source, source, *flags) == 0
    found = [label_lines(source, f"mine_{subset}_{NAME}_LLM.csv") for subset in ("train", "val", "test")]
    assert sum(map(len, found)) == 13
    assert min(map(len, found)) > 0
    texts = {line.split(",", 4)[4] for lines in found for line in lines}
    assert texts == {"(hm)", *(f"Clip {number}, as written!" for number in range(12))}
    assert file_names(source / "mine", "**/*.wav") == []


def test_what_cannot_be_used_is_counted_and_tried_again(tmp_path, capsys):
    source, root = tmp_path / "source", tmp_path / "root"
    write_source_video(source / "good.mp4", 20)
    (source / "good.txt").write_text("good")
    (source / "broken.mp4").write_bytes(b"no video")
    (source / "broken.txt").write_text("broken")
    write_source_video(source / "silent.mp4", 20, sound=False)
    (source / "silent.txt").write_text("silent")
    write_video(source / "face.mp4", moving_bar(10, side=300), waveform=tone(6400))
    (source / "face.txt").write_text("face")
    write_source_video(source / "latin.mp4", 20)
    (source / "latin.srt").write_bytes(b"caf\xe9")
    assert run_command("folder", source, root, "--dataset", "mine") == 0
    said = capsys.readouterr().out
    assert "3 unreadable video or sound; such as train/broken" in said
    assert "1 unreadable text; train/latin" in said
    assert len(label_lines(root, f"mine_train_{NAME}_LLM_lowercase.csv")) == 1
    details = (root / "mine/left_out_seg2s.csv").read_text()
    assert "prepare_data.py cuts mouths out of whole faces" in details
    assert "found no sound track" in details
    (source / "latin.srt").write_text(CUES)
    assert run_command("folder", source, root, "--dataset", "mine") == 0
    assert "4 of them in an earlier run" in capsys.readouterr().out
    assert run_command("folder", source, root, "--dataset", "mine", "--retry") == 0
    assert "2 of them in an earlier run" in capsys.readouterr().out
    (source / "good.mp4").unlink()
    (source / "latin.mp4").unlink()
    assert run_command("folder", source, root, "--dataset", "mine") == 2
    assert "none of 3 videos could be used" in capsys.readouterr().err


def test_texts_beside_are_found_in_one_listing(tmp_path, monkeypatch):
    names = ["a.srt", "a.en.srt", "b.de.srt", "b.en.srt", "b.vtt", "c.pt-BR.vtt", "c.txt", "d.txt", "e.SRT"]
    for name in (*names, *(f"{stem}.mp4" for stem in "abcdef"), "b.en.mp4"):
        (tmp_path / name).touch()
    listed, scandir = [], os.scandir
    monkeypatch.setattr(folder.os, "scandir", lambda path: listed.append(path) or scandir(path))
    monkeypatch.setattr(Path, "iterdir", lambda path: pytest.fail("listed again"))
    items, without = folder.items(tmp_path)
    found = {item.video.name: item.transcript.name for item in items}
    assert found == {
        "a.mp4": "a.srt",
        "b.mp4": "b.de.srt",
        "b.en.mp4": "b.en.srt",
        "c.mp4": "c.pt-BR.vtt",
        "d.mp4": "d.txt",
    }
    assert [name for name, _ in without] == ["train/e", "train/f"]
    assert len(listed) == 2  # for the videos, and for the texts
