"""prepare_data.py lrs2 and lrs3: exact files, lengths, texts; resumed, shared, trained on."""

import json

import numpy as np
import pytest
import torch

from datamodules import formats
from datamodules.batch import TextIds
from datamodules.datamodule import DataModule
from datamodules.media import load_audio, load_video
from tests.unit.preparation_sets import (
    count_made,
    file_names,
    label_lines,
    run_command,
    write_lrs2,
    write_lrs3,
    write_source_video,
)

NAME = "transcript_lengths_seg2s"


def stamps(root):
    return {path: path.stat().st_mtime_ns for path in root.glob("**/*.mp4")}


@pytest.fixture(scope="module")
def lrs3_source(tmp_path_factory):
    return write_lrs3(tmp_path_factory.mktemp("lrs3"))


@pytest.fixture
def counted(monkeypatch):
    return count_made(monkeypatch)


def test_lrs3(lrs3_source, tmp_path, capsys):
    assert run_command("lrs3", lrs3_source, tmp_path) == 0
    folder = "lrs3/lrs3_video_seg2s"
    clip_names = ["pretrain/idA/00001_00", "test/idC/00002", "trainval/idB/50001", "trainval/idB/50002"]
    assert file_names(tmp_path) == sorted(
        [f"{folder}/{name}{suffix}" for name in clip_names for suffix in (".mp4", ".wav")]
        + [f"lrs3/lrs3_text_seg2s/{name}.txt" for name in clip_names]
        + [f"labels/lrs3_{subset}_{NAME}_LLM_lowercase.csv" for subset in ("train", "test")]
        + ["lrs3/.prepared/seg2s.1.0.jsonl"]
    )
    assert label_lines(tmp_path, f"lrs3_train_{NAME}_LLM_lowercase.csv") == [
        "lrs3,lrs3_video_seg2s/pretrain/idA/00001_00.mp4,50,0,so this is it",
        "lrs3,lrs3_video_seg2s/trainval/idB/50001.mp4,20,0,but how, and why",
        "lrs3,lrs3_video_seg2s/trainval/idB/50002.mp4,30,0,it's fine",
    ]
    assert label_lines(tmp_path, f"lrs3_test_{NAME}_LLM_lowercase.csv") == [
        "lrs3,lrs3_video_seg2s/test/idC/00002.mp4,25,0,i have to say"
    ]
    assert (tmp_path / "lrs3/lrs3_text_seg2s/trainval/idB/50001.txt").read_text() == "BUT HOW, AND WHY\n"
    said = capsys.readouterr().out
    assert "went through 4 videos" in said
    assert "train       3 clips     4.0 s" in said


def test_clips_hold_what_the_video_held(lrs3_source, tmp_path):
    run_command("lrs3", lrs3_source, tmp_path, "--subset", "train", seg_seconds=1)
    path = tmp_path / "labels/lrs3_train_transcript_lengths_seg1s_LLM_lowercase.csv"
    utterances = formats.read(path, tmp_path)
    assert [(u.num_frames, u.text) for u in utterances] == [
        (21, "so this"),
        (20, "is it"),
        (20, "but how, and why"),
    ]
    for utterance in utterances:
        assert len(load_video(utterance.video_path)) == utterance.num_frames
        assert len(load_audio(utterance.audio_path)) == 640 * utterance.num_frames
    source = load_video(lrs3_source / "pretrain/idA/00001.mp4").float()
    cut = torch.cat([load_video(u.video_path) for u in utterances[:2]]).float()
    assert cut.shape == (41, 96, 96)
    assert (cut - source[:41]).abs().mean() < 1.5
    # The clips follow each other in the source, whose square moves 3 pixels a frame: none lost or doubled.
    distances = torch.cdist(cut.flatten(1), source.flatten(1))
    assert distances.argmin(dim=1).tolist() == list(range(41))
    sound = load_audio(lrs3_source / "pretrain/idA/00001.mp4")
    joined = torch.cat([load_audio(u.audio_path) for u in utterances[:2]])
    torch.testing.assert_close(joined, sound[: 41 * 640].clamp(-1, 1), atol=1e-4, rtol=0)
    left_out = (tmp_path / "lrs3/left_out_seg1s.csv").read_text().splitlines()
    assert left_out == [
        "name,reason,detail",
        "pretrain/idA/00001,no words,noise from 1.70 s on",
        'trainval/idB/50002,longer than 1 s,"1.20 s, and its text has no times"',
    ]


def test_a_second_run_does_nothing_twice(lrs3_source, tmp_path, counted, capsys):
    run_command("lrs3", lrs3_source, tmp_path)
    before, names = stamps(tmp_path), list(counted)
    assert len(names) == 4
    assert run_command("lrs3", lrs3_source, tmp_path) == 0
    assert (counted, stamps(tmp_path)) == (names, before)
    assert "all 4 videos had been gone through" in capsys.readouterr().out
    # What is missing, half written down, or has another source, is made again: and nothing else.
    (tmp_path / "lrs3/lrs3_video_seg2s/test/idC/00002.mp4").unlink()
    run_command("lrs3", lrs3_source, tmp_path)
    assert counted[4:] == ["test/idC/00002"]
    journal = tmp_path / "lrs3/.prepared/seg2s.1.0.jsonl"
    lines = journal.read_text().splitlines()
    journal.write_text("\n".join(lines[1:3]) + "\n" + lines[3][:40])
    expected = {json.loads(line)["name"] for line in lines} - {
        json.loads(line)["name"] for line in lines[1:3]
    }
    run_command("lrs3", lrs3_source, tmp_path)
    assert set(counted[5:]) == expected
    assert run_command("lrs3", lrs3_source, tmp_path) == 0
    assert len(counted) == 5 + len(expected)


def test_a_changed_source_replaces_its_clips(tmp_path, counted):
    source, root = write_lrs3(tmp_path / "source"), tmp_path / "root"
    run_command("lrs3", source, root, "--subset", "train", seg_seconds=1)
    assert len(file_names(root, "lrs3/lrs3_video_seg1s/pretrain/**/*.mp4")) == 2
    video = source / "pretrain/idA/00001.mp4"
    write_source_video(video, 20)
    video.with_suffix(".txt").write_text("Text:  SO\n\nWORD START END ASDSCORE\nSO 0.1 0.3 1\n")
    counted.clear()
    run_command("lrs3", source, root, "--subset", "train", seg_seconds=1)
    assert counted == ["pretrain/idA/00001"]
    assert file_names(root, "lrs3/lrs3_*_seg1s/pretrain/**/*") == [
        "lrs3/lrs3_text_seg1s/pretrain/idA/00001_00.txt",
        "lrs3/lrs3_video_seg1s/pretrain/idA/00001_00.mp4",
        "lrs3/lrs3_video_seg1s/pretrain/idA/00001_00.wav",
    ]


def test_shares_and_the_whole(lrs3_source, tmp_path, counted, capsys):
    run_command("lrs3", lrs3_source, tmp_path / "one")
    whole = label_lines(tmp_path / "one", f"lrs3_train_{NAME}_LLM_lowercase.csv")
    counted.clear()
    root = tmp_path / "many"
    for index in (2, 0, 1):
        assert run_command("lrs3", lrs3_source, root, "--groups", "3", "--job-index", index) == 0
    assert "This is share 1 of 3" in capsys.readouterr().out
    assert len(counted) == len(set(counted)) == 4
    parts = [label_lines(root, f"lrs3_train_{NAME}_LLM_lowercase.3.{index}.csv") for index in (0, 1, 2)]
    assert sorted(line for part in parts for line in part) == sorted(whole)
    assert run_command("lrs3", lrs3_source, root) == 0
    assert len(counted) == 4
    assert label_lines(root, f"lrs3_train_{NAME}_LLM_lowercase.csv") == whole
    assert run_command("lrs3", lrs3_source, root, "--groups", "3", "--job-index", "3") == 2
    assert "--job-index counts from 0 up to --groups" in capsys.readouterr().err
    # More shares than videos: some have nothing to do, which is no error.
    assert run_command("lrs3", lrs3_source, root, "--groups", "9", "--job-index", "8") == 0


def test_label_formats_and_filters(lrs3_source, tmp_path, capsys):
    every = ("--label-format", "5-column", "4-column", "tsv")
    run_command(
        "lrs3",
        lrs3_source,
        tmp_path,
        *every,
        "--subset",
        "train",
        "--min-frames",
        "26",
        "--max-seconds",
        "1.9",
    )
    name = f"lrs3_train_{NAME}"
    assert file_names(tmp_path, "labels/*") == [
        f"labels/{name}_LLM_lowercase_greater25_upto47.csv",
        f"labels/{name}_greater25_upto47.csv",
        f"labels/{name}_lowercase_greater25_upto47.tsv",
        f"labels/{name}_lowercase_greater25_upto47.wrd",
    ]
    clip = "lrs3_video_seg2s/trainval/idB/50002"
    assert label_lines(tmp_path, f"{name}_greater25_upto47.csv") == [f"lrs3,{clip}.mp4,30,"]
    assert label_lines(tmp_path, f"{name}_lowercase_greater25_upto47.tsv") == [
        ".",
        f"lrs3/en-en/{clip}\tlrs3/{clip}.mp4\tlrs3/{clip}.wav\t30\t19200",
    ]
    assert label_lines(tmp_path, f"{name}_lowercase_greater25_upto47.wrd") == ["it's fine"]
    said = capsys.readouterr().out
    assert "2 clips shorter or longer than asked for" in said
    assert "they need a SentencePiece model, --spm" in said
    [read] = formats.read(tmp_path / "labels" / f"{name}_greater25_upto47.csv", tmp_path)
    assert (read.text, read.num_frames) == ("it's fine", 30)
    run_command("lrs3", lrs3_source, tmp_path, "--no-lowercase", "--subset", "test")
    assert label_lines(tmp_path, f"lrs3_test_{NAME}_LLM.csv")[0].endswith(",25,0,I HAVE TO SAY")
    assert run_command("lrs3", lrs3_source, tmp_path, "--min-frames", "30", "--max-frames", "20") == 2
    assert "no clip has at least 30 and at most 20 frames" in capsys.readouterr().err


def test_token_ids_of_a_sentencepiece_model(lrs3_source, tmp_path, capsys):
    import sentencepiece

    sentences = iter(["BUT HOW, AND WHY", "IT'S FINE", "I HAVE TO SAY"] * 20)
    model = tmp_path / "unigram.model"
    with model.open("wb") as file:
        sentencepiece.SentencePieceTrainer.Train(
            sentence_iterator=sentences,
            model_writer=file,
            vocab_size=40,
            hard_vocab_limit=False,
            minloglevel=2,
        )
    run_command(
        "lrs3", lrs3_source, tmp_path, "--label-format", "4-column", "--spm", model, "--subset", "test"
    )
    [line] = label_lines(tmp_path, f"lrs3_test_{NAME}.csv")
    processor = sentencepiece.SentencePieceProcessor(model_file=str(model))
    assert processor.decode([int(i) for i in line.split(",")[3].split()]) == "I HAVE TO SAY"
    assert "--spm" not in capsys.readouterr().out
    model.write_text("no model")
    assert run_command("lrs3", lrs3_source, tmp_path, "--label-format", "4-column", "--spm", model) == 2
    assert "expected a sentencepiece model" in capsys.readouterr().err


def test_lrs2(tmp_path, capsys):
    source, root = write_lrs2(tmp_path / "source"), tmp_path / "root"
    assert run_command("lrs2", source, root) == 0
    found = {
        subset: label_lines(root, f"lrs2_{subset}_{NAME}_LLM_lowercase.csv")
        for subset in ("train", "val", "test")
    }
    assert found == {
        "train": [
            "lrs2,lrs2_video_seg2s/pretrain/1/00001_00.mp4,50,0,so this is it",
            "lrs2,lrs2_video_seg2s/main/7/00000.mp4,20,0,one",
        ],
        "val": ["lrs2,lrs2_video_seg2s/main/7/00001.mp4,21,0,two"],
        "test": ["lrs2,lrs2_video_seg2s/main/7/00002.mp4,22,0,three"],
    }
    (source / "val.txt").unlink()
    assert run_command("lrs2", source, root) == 2
    assert "no list val.txt in" in capsys.readouterr().err
    (source / "lists").mkdir()
    (source / "lists/val.txt").write_text("7/00003\n7/00009\n")
    assert run_command("lrs2", source, root, "--lists-dir", source / "lists", "--subset", "val") == 0
    assert "1 the video is missing; main/7/00009" in capsys.readouterr().out
    assert label_lines(root, f"lrs2_val_{NAME}_LLM_lowercase.csv") == [
        "lrs2,lrs2_video_seg2s/main/7/00003.mp4,23,0,in no list"
    ]


def test_wrong_folders(tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    for command, reason in {
        "lrs3": "expected pretrain/, trainval/ or test/",
        "lrs2": "expected main/ or pretrain/",
        "vox2": "expected dev/ or test/",
        "folder": "expected videos",
    }.items():
        assert run_command(command, tmp_path / "empty", tmp_path / "root") == 2
        assert reason in capsys.readouterr().err
        assert run_command(command, tmp_path / "nowhere", tmp_path / "root") == 2
        assert "no such folder; --source-dir" in capsys.readouterr().err
    (tmp_path / "lrs3/test/id").mkdir(parents=True)
    assert run_command("lrs3", tmp_path / "lrs3", tmp_path / "root") == 2
    assert "no video for test: expected" in capsys.readouterr().err
    assert not (tmp_path / "root").exists()


def test_an_interrupted_run_leaves_nothing_half_done(lrs3_source, tmp_path, monkeypatch, counted):
    from preparation.datasets import clip_files

    write_video_as_it_is, calls = clip_files.write_video, []

    def failing(path, frames):
        calls.append(path)
        if len(calls) == 3:
            raise OSError(28, "No space left on device")
        write_video_as_it_is(path, frames)

    monkeypatch.setattr(clip_files, "write_video", failing)
    assert run_command("lrs3", lrs3_source, tmp_path) == 2
    assert not (tmp_path / "labels").exists()
    assert not [name for name in file_names(tmp_path) if name.endswith(".part")]
    monkeypatch.setattr(clip_files, "write_video", write_video_as_it_is)
    assert run_command("lrs3", lrs3_source, tmp_path) == 0
    assert sorted(counted) == sorted([*set(counted), counted[2]])
    assert len(label_lines(tmp_path, f"lrs3_train_{NAME}_LLM_lowercase.csv")) == 3


@pytest.mark.slow
def test_processes_make_the_same(lrs3_source, tmp_path):
    run_command("lrs3", lrs3_source, tmp_path / "one")
    run_command("lrs3", lrs3_source, tmp_path / "two", workers=2)
    found = [name for name in file_names(tmp_path / "one") if ".prepared" not in name]
    assert found == [name for name in file_names(tmp_path / "two") if ".prepared" not in name]
    for name in found:
        assert (tmp_path / "one" / name).read_bytes() == (
            tmp_path / "two" / name
        ).read_bytes() or name.endswith(
            ".mp4"  # x264 does not promise the same bytes
        )


def encode_text(utterance):
    return TextIds(
        prefix=torch.tensor([1]), suffix=torch.tensor([2]), target=torch.arange(len(utterance.text))
    )


def test_the_result_can_be_trained_on(lrs3_source, tmp_path):
    run_command("lrs3", lrs3_source, tmp_path)
    data = DataModule(
        tmp_path,
        media=("audio", "video"),
        encode_text=encode_text,
        train_file=f"lrs3_train_{NAME}_LLM_lowercase.csv",
        test_file=f"lrs3_test_{NAME}_LLM_lowercase.csv",
        max_frames=100,
    )
    data.setup("fit")
    data.setup("test")
    seen = [utterance.num_frames for batch in data.train_dataloader() for utterance in batch.utterances]
    assert sorted(seen) == [20, 30, 50]
    [batch] = list(data.test_dataloader())
    assert batch.inputs["video"].lengths.tolist() == [25]
    assert batch.inputs["audio"].lengths.tolist() == [16_000]
    assert np.isfinite(batch.inputs["video"].values.numpy()).all()
