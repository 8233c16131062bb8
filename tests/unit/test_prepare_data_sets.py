"""prepare_data.py lrs2, lrs3, vox2 and folder: exact files, lengths, texts; resumed, shared, trained on."""

import json
import shutil

import numpy as np
import pytest
import torch

import prepare_data
from datamodules import formats
from datamodules.batch import TextIds
from datamodules.datamodule import DataModule
from datamodules.media import load_audio, load_video
from preparation import clips
from tests.unit.media_files import moving_bar, tone, write_video
from tests.unit.preparation_sets import (
    CUES,
    write_folder,
    write_lrs2,
    write_lrs3,
    write_source_video,
    write_vox2,
)

NAME = "transcript_lengths_seg2s"


def run(command, source, root, *flags, seg_seconds=2, workers=1):
    arguments = [command, "--source-dir", source, "--root-dir", root, "--seg-seconds", seg_seconds]
    arguments += ["--already-cropped", "--num-workers", workers, *flags]
    return prepare_data.main([str(argument) for argument in arguments])


def labels(root, name):
    return (root / "labels" / name).read_text().splitlines()


def files(root, pattern="**/*"):
    return sorted(str(path.relative_to(root)) for path in root.glob(pattern) if path.is_file())


def stamps(root):
    return {path: path.stat().st_mtime_ns for path in root.glob("**/*.mp4")}


@pytest.fixture(scope="module")
def lrs3_source(tmp_path_factory):
    return write_lrs3(tmp_path_factory.mktemp("lrs3"))


@pytest.fixture
def counted(monkeypatch):
    """The names of the items whose clips were made."""
    made = []
    make = clips._make

    def counting(item, *rest):
        made.append(item.name)
        return make(item, *rest)

    monkeypatch.setattr(clips, "_make", counting)
    return made


def test_lrs3(lrs3_source, tmp_path, capsys):
    assert run("lrs3", lrs3_source, tmp_path) == 0
    folder = "lrs3/lrs3_video_seg2s"
    clip_names = ["pretrain/idA/00001_00", "test/idC/00002", "trainval/idB/50001", "trainval/idB/50002"]
    assert files(tmp_path) == sorted(
        [f"{folder}/{name}{suffix}" for name in clip_names for suffix in (".mp4", ".wav")]
        + [f"lrs3/lrs3_text_seg2s/{name}.txt" for name in clip_names]
        + [f"labels/lrs3_{subset}_{NAME}_LLM_lowercase.csv" for subset in ("train", "test")]
        + ["lrs3/.prepared/seg2s.1.0.jsonl"]
    )
    assert labels(tmp_path, f"lrs3_train_{NAME}_LLM_lowercase.csv") == [
        "lrs3,lrs3_video_seg2s/pretrain/idA/00001_00.mp4,50,0,so this is it",
        "lrs3,lrs3_video_seg2s/trainval/idB/50001.mp4,20,0,but how, and why",
        "lrs3,lrs3_video_seg2s/trainval/idB/50002.mp4,30,0,it's fine",
    ]
    assert labels(tmp_path, f"lrs3_test_{NAME}_LLM_lowercase.csv") == [
        "lrs3,lrs3_video_seg2s/test/idC/00002.mp4,25,0,i have to say"
    ]
    assert (tmp_path / "lrs3/lrs3_text_seg2s/trainval/idB/50001.txt").read_text() == "BUT HOW, AND WHY\n"
    said = capsys.readouterr().out
    assert "went through 4 videos" in said
    assert "train       3 clips     4.0 s" in said


def test_clips_hold_what_the_video_held(lrs3_source, tmp_path):
    run("lrs3", lrs3_source, tmp_path, "--subset", "train", seg_seconds=1)
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
    run("lrs3", lrs3_source, tmp_path)
    before, names = stamps(tmp_path), list(counted)
    assert len(names) == 4
    assert run("lrs3", lrs3_source, tmp_path) == 0
    assert (counted, stamps(tmp_path)) == (names, before)
    assert "all 4 videos had been gone through" in capsys.readouterr().out
    # What is missing, half written down, or has another source, is made again: and nothing else.
    (tmp_path / "lrs3/lrs3_video_seg2s/test/idC/00002.mp4").unlink()
    run("lrs3", lrs3_source, tmp_path)
    assert counted[4:] == ["test/idC/00002"]
    journal = tmp_path / "lrs3/.prepared/seg2s.1.0.jsonl"
    lines = journal.read_text().splitlines()
    journal.write_text("\n".join(lines[1:3]) + "\n" + lines[3][:40])
    expected = {json.loads(line)["name"] for line in lines} - {
        json.loads(line)["name"] for line in lines[1:3]
    }
    run("lrs3", lrs3_source, tmp_path)
    assert set(counted[5:]) == expected
    assert run("lrs3", lrs3_source, tmp_path) == 0
    assert len(counted) == 5 + len(expected)


def test_a_changed_source_replaces_its_clips(tmp_path, counted):
    source, root = write_lrs3(tmp_path / "source"), tmp_path / "root"
    run("lrs3", source, root, "--subset", "train", seg_seconds=1)
    assert len(files(root, "lrs3/lrs3_video_seg1s/pretrain/**/*.mp4")) == 2
    video = source / "pretrain/idA/00001.mp4"
    write_source_video(video, 20)
    video.with_suffix(".txt").write_text("Text:  SO\n\nWORD START END ASDSCORE\nSO 0.1 0.3 1\n")
    counted.clear()
    run("lrs3", source, root, "--subset", "train", seg_seconds=1)
    assert counted == ["pretrain/idA/00001"]
    assert files(root, "lrs3/lrs3_*_seg1s/pretrain/**/*") == [
        "lrs3/lrs3_text_seg1s/pretrain/idA/00001_00.txt",
        "lrs3/lrs3_video_seg1s/pretrain/idA/00001_00.mp4",
        "lrs3/lrs3_video_seg1s/pretrain/idA/00001_00.wav",
    ]


def test_shares_and_the_whole(lrs3_source, tmp_path, counted, capsys):
    run("lrs3", lrs3_source, tmp_path / "one")
    whole = labels(tmp_path / "one", f"lrs3_train_{NAME}_LLM_lowercase.csv")
    counted.clear()
    root = tmp_path / "many"
    for index in (2, 0, 1):
        assert run("lrs3", lrs3_source, root, "--groups", "3", "--job-index", index) == 0
    assert "This is share 1 of 3" in capsys.readouterr().out
    assert len(counted) == len(set(counted)) == 4
    parts = [labels(root, f"lrs3_train_{NAME}_LLM_lowercase.3.{index}.csv") for index in (0, 1, 2)]
    assert sorted(line for part in parts for line in part) == sorted(whole)
    assert run("lrs3", lrs3_source, root) == 0
    assert len(counted) == 4
    assert labels(root, f"lrs3_train_{NAME}_LLM_lowercase.csv") == whole
    assert run("lrs3", lrs3_source, root, "--groups", "3", "--job-index", "3") == 2
    assert "--job-index counts from 0 up to --groups" in capsys.readouterr().err
    # More shares than videos: some have nothing to do, which is no error.
    assert run("lrs3", lrs3_source, root, "--groups", "9", "--job-index", "8") == 0


def test_label_formats_and_filters(lrs3_source, tmp_path, capsys):
    every = ("--label-format", "5-column", "4-column", "tsv")
    run(
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
    assert files(tmp_path, "labels/*") == [
        f"labels/{name}_LLM_lowercase_greater25_upto47.csv",
        f"labels/{name}_greater25_upto47.csv",
        f"labels/{name}_lowercase_greater25_upto47.tsv",
        f"labels/{name}_lowercase_greater25_upto47.wrd",
    ]
    clip = "lrs3_video_seg2s/trainval/idB/50002"
    assert labels(tmp_path, f"{name}_greater25_upto47.csv") == [f"lrs3,{clip}.mp4,30,"]
    assert labels(tmp_path, f"{name}_lowercase_greater25_upto47.tsv") == [
        ".",
        f"lrs3/en-en/{clip}\tlrs3/{clip}.mp4\tlrs3/{clip}.wav\t30\t19200",
    ]
    assert labels(tmp_path, f"{name}_lowercase_greater25_upto47.wrd") == ["it's fine"]
    said = capsys.readouterr().out
    assert "2 clips shorter or longer than asked for" in said
    assert "need a sentencepiece model, --spm" in said
    [read] = formats.read(tmp_path / "labels" / f"{name}_greater25_upto47.csv", tmp_path)
    assert (read.text, read.num_frames) == ("it's fine", 30)
    run("lrs3", lrs3_source, tmp_path, "--no-lowercase", "--subset", "test")
    assert labels(tmp_path, f"lrs3_test_{NAME}_LLM.csv")[0].endswith(",25,0,I HAVE TO SAY")
    assert run("lrs3", lrs3_source, tmp_path, "--min-frames", "30", "--max-frames", "20") == 2
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
    run("lrs3", lrs3_source, tmp_path, "--label-format", "4-column", "--spm", model, "--subset", "test")
    [line] = labels(tmp_path, f"lrs3_test_{NAME}.csv")
    processor = sentencepiece.SentencePieceProcessor(model_file=str(model))
    assert processor.decode([int(i) for i in line.split(",")[3].split()]) == "I HAVE TO SAY"
    assert "--spm" not in capsys.readouterr().out
    model.write_text("no model")
    assert run("lrs3", lrs3_source, tmp_path, "--label-format", "4-column", "--spm", model) == 2
    assert "expected a sentencepiece model" in capsys.readouterr().err


def test_lrs2(tmp_path, capsys):
    source, root = write_lrs2(tmp_path / "source"), tmp_path / "root"
    assert run("lrs2", source, root) == 0
    found = {
        subset: labels(root, f"lrs2_{subset}_{NAME}_LLM_lowercase.csv") for subset in ("train", "val", "test")
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
    assert run("lrs2", source, root) == 2
    assert "no list val.txt in" in capsys.readouterr().err
    (source / "lists").mkdir()
    (source / "lists/val.txt").write_text("7/00003\n7/00009\n")
    assert run("lrs2", source, root, "--lists-dir", source / "lists", "--subset", "val") == 0
    assert "1 the video is missing; main/7/00009" in capsys.readouterr().out
    assert labels(root, f"lrs2_val_{NAME}_LLM_lowercase.csv") == [
        "lrs2,lrs2_video_seg2s/main/7/00003.mp4,23,0,in no list"
    ]


def test_vox2_with_a_models_transcripts(tmp_path, counted, capsys):
    source, root = write_vox2(tmp_path / "source"), tmp_path / "root"
    assert run("vox2", source, root) == 0
    to_transcribe = labels(root, "vox2_train_to_transcribe_seg2s.csv")
    names = [line.split(",")[1] for line in to_transcribe]
    lengths = [int(line.split(",")[2]) for line in to_transcribe]
    assert names == [
        f"vox2_video_seg2s/dev/id1/vid/{name}.mp4" for name in ("00001_00", "00001_01", "00002_00")
    ]
    assert (lengths[0] + lengths[1], lengths[2]) == (60, 20)
    assert all(line.endswith(",0,") for line in to_transcribe)
    assert "3 clips without text: see --transcripts" in capsys.readouterr().out
    assert files(root, "vox2/vox2_text*/**/*") == []
    heard = tmp_path / "hypotheses.csv"
    rows = [f"vox2/{names[0].removesuffix('.mp4')},Hello there.", "id1/vid/00002,Bye!", "id1/vid/00009,No"]
    heard.write_text("id,hypothesis\n" + "\n".join(rows) + "\n")
    counted.clear()
    assert run("vox2", source, root, "--transcripts", heard) == 0
    assert counted == []
    assert labels(root, f"vox2_train_{NAME}_LLM_lowercase.csv") == [
        f"vox2,{names[0]},{lengths[0]},0,hello there",
        f"vox2,{names[2]},20,0,bye",
    ]
    assert labels(root, "vox2_train_to_transcribe_seg2s.csv") == [f"vox2,{names[1]},{lengths[1]},0,"]
    assert (root / "vox2/vox2_text_seg2s/dev/id1/vid/00001_00.txt").read_text() == "HELLO THERE\n"


def test_vox2_cut_by_the_words_of_a_model(tmp_path):
    source, root = write_vox2(tmp_path / "source"), tmp_path / "root"
    words = [{"word": "Hello,", "start": 0.2, "end": 0.6}, {"word": "there!", "start": 1.8, "end": 2.2}]
    heard = tmp_path / "heard.json"
    heard.write_text(json.dumps({"id1/vid/00001": {"words": words}, "id1/vid/00002": "Bye"}))
    assert run("vox2", source, root, "--transcripts", heard) == 0
    assert labels(root, f"vox2_train_{NAME}_LLM_lowercase.csv") == [
        "vox2,vox2_video_seg2s/dev/id1/vid/00001_00.mp4,30,0,hello",
        "vox2,vox2_video_seg2s/dev/id1/vid/00001_01.mp4,30,0,there",
        "vox2,vox2_video_seg2s/dev/id1/vid/00002_00.mp4,20,0,bye",
    ]
    assert not (root / "labels/vox2_train_to_transcribe_seg2s.csv").exists()


def test_folder(tmp_path, capsys):
    source, root = write_folder(tmp_path / "my talks"), tmp_path / "root"
    assert run("folder", source, root) == 0
    assert labels(root, f"my_talks_train_{NAME}_LLM_lowercase.csv") == [
        "my_talks,my_talks_video_seg2s/train/more/b.mp4,20,0,well that's it",
        "my_talks,my_talks_video_seg2s/train/talk_one_00.mp4,20,0,good morning everybody",
        "my_talks,my_talks_video_seg2s/train/talk_one_01.mp4,15,0,it's 5 o'clock",
    ]
    # 30 frames of 30 fps are 25.
    assert labels(root, f"my_talks_test_{NAME}_LLM_lowercase.csv") == [
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
        assert run("folder", source, source, *flags) == 0
    found = [labels(source, f"mine_{subset}_{NAME}_LLM.csv") for subset in ("train", "val", "test")]
    assert sum(map(len, found)) == 13
    assert min(map(len, found)) > 0
    texts = {line.split(",", 4)[4] for lines in found for line in lines}
    assert texts == {"(hm)", *(f"Clip {number}, as written!" for number in range(12))}
    assert files(source / "mine", "**/*.wav") == []


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
    assert run("folder", source, root, "--dataset", "mine") == 0
    said = capsys.readouterr().out
    assert "3 a video or sound that cannot be read; such as train/broken" in said
    assert "1 a text that cannot be read; train/latin" in said
    assert len(labels(root, f"mine_train_{NAME}_LLM_lowercase.csv")) == 1
    details = (root / "mine/left_out_seg2s.csv").read_text()
    assert "prepare_data.py cuts mouths out of whole faces" in details
    assert "found no sound track" in details
    (source / "latin.srt").write_text(CUES)
    assert run("folder", source, root, "--dataset", "mine") == 0
    assert "4 of them in an earlier run" in capsys.readouterr().out
    assert run("folder", source, root, "--dataset", "mine", "--retry") == 0
    assert "2 of them in an earlier run" in capsys.readouterr().out
    (source / "good.mp4").unlink()
    (source / "latin.mp4").unlink()
    assert run("folder", source, root, "--dataset", "mine") == 2
    assert "of 3 videos none could be used" in capsys.readouterr().err


def test_wrong_folders(tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    for command, reason in {
        "lrs3": "expected pretrain/, trainval/ or test/",
        "lrs2": "expected main/ or pretrain/",
        "vox2": "expected dev/ or test/",
        "folder": "expected videos",
    }.items():
        assert run(command, tmp_path / "empty", tmp_path / "root") == 2
        assert reason in capsys.readouterr().err
        assert run(command, tmp_path / "nowhere", tmp_path / "root") == 2
        assert "no such folder; --source-dir" in capsys.readouterr().err
    (tmp_path / "lrs3/test/id").mkdir(parents=True)
    assert run("lrs3", tmp_path / "lrs3", tmp_path / "root") == 2
    assert "no video for test: expected" in capsys.readouterr().err
    assert not (tmp_path / "root").exists()


def test_an_interrupted_run_leaves_nothing_half_done(lrs3_source, tmp_path, monkeypatch, counted):
    from preparation import clip_files

    write_video_as_it_is, calls = clip_files.write_grey_video, []

    def failing(path, frames):
        calls.append(path)
        if len(calls) == 3:
            raise OSError(28, "No space left on device")
        write_video_as_it_is(path, frames)

    monkeypatch.setattr(clip_files, "write_grey_video", failing)
    assert run("lrs3", lrs3_source, tmp_path) == 2
    assert not (tmp_path / "labels").exists()
    assert not [name for name in files(tmp_path) if name.endswith(".part")]
    monkeypatch.setattr(clip_files, "write_grey_video", write_video_as_it_is)
    assert run("lrs3", lrs3_source, tmp_path) == 0
    assert sorted(counted) == sorted([*set(counted), counted[2]])
    assert len(labels(tmp_path, f"lrs3_train_{NAME}_LLM_lowercase.csv")) == 3


@pytest.mark.slow
def test_processes_make_the_same(lrs3_source, tmp_path):
    run("lrs3", lrs3_source, tmp_path / "one")
    run("lrs3", lrs3_source, tmp_path / "two", workers=2)
    found = [name for name in files(tmp_path / "one") if ".prepared" not in name]
    assert found == [name for name in files(tmp_path / "two") if ".prepared" not in name]
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
    shutil.rmtree(tmp_path / "none", ignore_errors=True)
    run("lrs3", lrs3_source, tmp_path)
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
