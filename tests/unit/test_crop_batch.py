"""Many videos: files, records, lists, resuming, and what is refused. Landmarks come from files."""

import csv
import json
import pickle
from pathlib import Path

import numpy as np
import pytest

import prepare_data
from datamodules.formats import auto_avsr_csv
from datamodules.media import load_audio, load_video
from preparation.faces.batch import BatchOptions, crop_all
from preparation.faces.clip_lists import transcript, write_lists
from preparation.faces.crop import CropOptions
from preparation.faces.detectors import DetectorOptions
from preparation.faces.sources import find_sources
from tests.faces import mean_face_68, moved, textured
from tests.unit.media_files import tone, write_video, write_wav

LENGTHS = {"a": 20, "sub/b": 30}


@pytest.fixture
def videos(tmp_path):
    """a.mp4 with sound and a transcript, sub/b.mp4, none.mp4 without a face, and landmarks beside them."""
    folder = tmp_path / "videos"
    for seed, (name, num_frames) in enumerate(LENGTHS.items()):
        sound = tone(640 * num_frames) if name == "a" else None
        write_video(folder / f"{name}.mp4", textured(num_frames, seed=seed), waveform=sound)
        points = [moved(mean_face_68(), t / 2, 0) for t in range(num_frames)]
        (folder / f"{name}.pkl").write_bytes(pickle.dumps(points))
    write_video(folder / "none.mp4", textured(15, seed=9))
    (folder / "none.pkl").write_bytes(pickle.dumps([None] * 15))
    (folder / "a.txt").write_text("these are words, said\n  slowly\n")
    (folder / "notes.doc").write_text("not a video")
    return folder


def options(tmp_path, **others):
    return BatchOptions(tmp_path / "out", "own", detector=DetectorOptions("landmarks"), **others)


def crop(videos, batch):
    return crop_all(find_sources([videos]), batch)


def contents(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_a_folder_becomes_a_data_set(videos, tmp_path):
    batch = options(tmp_path, sheets=True)
    outcome = crop(videos, batch)
    assert [source.stem.as_posix() for source, _ in outcome.done] == ["a", "none", "sub/b"]
    assert (outcome.kept, outcome.failed) == ([], [])
    lists = write_lists(tmp_path / "out", batch.data_set)
    out = tmp_path / "out"
    assert set(contents(out)) == {
        *("labels/own.csv", "own/clips.csv", "own/a.mp4", "own/a.wav", "own/a.png", "own/sub/b.mp4"),
        *("own/sub/b.png", "own/.crop/a.json", "own/.crop/none.json", "own/.crop/sub/b.json"),
    }
    assert (lists.num_clips, lists.num_labels, lists.num_uncut_texts) == (2, 1, 0)

    (utterance,) = auto_avsr_csv.read(out / "labels/own.csv", out)
    assert utterance.text == "these are words, said slowly"
    assert utterance.num_frames == 20
    clip = load_video(utterance.video_path, 20)
    assert clip.shape == (20, 96, 96)
    sound = load_audio(utterance.audio_path, None, 20)
    assert len(sound) == 20 * 640
    assert np.corrcoef(sound[2000:10_000], tone(12_800)[2000:10_000])[0, 1] > 0.99

    with (out / "own/clips.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["path"], row["frames"], row["start_s"], row["end_s"], row["sound"]) for row in rows] == [
        ("a.mp4", "20", "0.00", "0.80", "1"),
        ("sub/b.mp4", "30", "0.00", "1.20", "0"),
    ]
    assert rows[1]["video"] == str(videos / "sub/b.mp4")
    record = json.loads((out / "own/.crop/none.json").read_text())
    assert (record["clips"], record["rejected"]) == ([], ["0.00-0.60 s: no face"])


def test_what_is_done_is_not_done_again(videos, tmp_path):
    batch = options(tmp_path)
    crop(videos, batch)
    before = contents(batch.data_set.folder)
    outcome = crop(videos, batch)
    assert (len(outcome.done), len(outcome.kept)) == (0, 3)
    assert contents(batch.data_set.folder) == before

    (batch.data_set.folder / "sub/b.mp4").unlink()
    assert [source.stem.name for source, _ in crop(videos, batch).done] == ["b"]
    assert contents(batch.data_set.folder) == before

    record = batch.data_set.folder / ".crop/a.json"
    record.write_bytes(record.read_bytes()[:50])
    assert [source.stem.name for source, _ in crop(videos, batch).done] == ["a"]
    assert contents(batch.data_set.folder) == before

    write_video(videos / "a.mp4", textured(20, seed=5))
    outcome = crop(videos, batch)
    assert [source.stem.name for source, _ in outcome.done] == ["a"]
    assert not (batch.data_set.folder / "a.wav").exists(), "the new video has no sound"
    assert len(crop(videos, options(tmp_path, redo=True)).done) == 3
    assert len(crop(videos, options(tmp_path, crop=CropOptions(whole=True))).done) == 3


def test_clips_that_are_no_more_are_removed(tmp_path):
    frames = np.concatenate([textured(15, seed=1), textured(15, seed=2)])
    folder = tmp_path / "videos"
    write_video(folder / "a.mp4", frames, waveform=tone(640 * 30, 300))
    np.savez(folder / "a.npz", np.stack([mean_face_68()] * 30))
    (folder / "a.txt").write_text("words")
    out = tmp_path / "out/own"
    crop(folder, options(tmp_path))
    assert {name for name in contents(out) if not name.startswith(".")} == {
        *("a_00.mp4", "a_00.wav", "a_01.mp4", "a_01.wav")
    }
    late = load_audio(out / "a_01.wav", None, 15).numpy()
    assert np.corrcoef(late[1000:8000], tone(640 * 30, 300)[640 * 15 :][1000:8000])[0, 1] > 0.98
    lists = write_lists(tmp_path / "out", options(tmp_path).data_set)
    assert (lists.num_clips, lists.label_path, lists.num_uncut_texts) == (2, None, 1)
    leftover = out / ".a_00.mp4.77.part"
    leftover.write_bytes(b"of a process that was killed")
    crop(folder, options(tmp_path, crop=CropOptions(whole=True)))
    assert {name for name in contents(out) if "/" not in name} == {"a.mp4", "a.wav", "clips.csv"}


def test_a_broken_video_does_not_stop_the_others(videos, tmp_path):
    whole = (videos / "a.mp4").read_bytes()
    (videos / "cut.mp4").write_bytes(whole[: len(whole) // 2])
    for name in ("cut", "sound"):
        (videos / f"{name}.pkl").write_bytes((videos / "a.pkl").read_bytes())
    write_wav(videos / "sound.wav", tone(16_000)).rename(videos / "sound.mp4")
    write_video(videos / "unknown.mp4", textured(15))
    outcome = crop(videos, options(tmp_path))
    reasons = {source.stem.name: record.rejected for source, record in outcome.done if not record.clips}
    assert set(reasons) == {"cut", "sound", "unknown", "none"}
    assert "cannot be decoded" in reasons["cut"][0]
    assert reasons["sound"] == ["expected a video, found only sound"]
    assert "expected landmarks at" in reasons["unknown"][0]
    assert sum(len(record.clips) for _, record in outcome.done) == 2


def test_an_error_of_a_program_is_tried_again(videos, tmp_path, monkeypatch):
    def broken(*_, **__):
        raise RuntimeError("out of luck")

    with monkeypatch.context() as patched:
        patched.setattr("preparation.faces.batch.read_sound", broken)
        outcome = crop(videos, options(tmp_path))
    assert {source.stem.name: reason for source, reason in outcome.failed} == {
        "a": "RuntimeError: out of luck",
        "b": "RuntimeError: out of luck",
    }
    assert {source.stem.name for source, _ in crop(videos, options(tmp_path)).done} == {"a", "b"}


def test_lists_and_single_files(videos, tmp_path):
    listed = videos / "some.lst"
    listed.write_text("a.mp4\n\nsub/b.mp4\n")
    assert [source.rel_path for source in find_sources([listed])] == [Path("a.mp4"), Path("sub/b.mp4")]
    assert [source.rel_path for source in find_sources([videos / "sub/b.mp4"])] == [Path("b.mp4")]
    assert len(find_sources([videos, videos / "a.mp4"])) == 3, "named twice, there once"
    (videos / "other.bin").write_bytes((videos / "a.mp4").read_bytes())
    assert len(find_sources([videos / "other.bin"])) == 1


def test_inputs_that_are_refused(videos, tmp_path):
    with pytest.raises(ValueError, match=r"nowhere: no such file or folder"):
        find_sources([tmp_path / "nowhere"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"found no video in .*empty"):
        find_sources([tmp_path / "empty"])
    listed = tmp_path / "list.txt"
    listed.write_text("videos/a.mp4\nvideos/missing.mp4\n")
    with pytest.raises(ValueError, match=r"list\.txt:2: expected a video at .*missing\.mp4"):
        find_sources([listed])
    (videos / "a.mkv").write_bytes((videos / "a.mp4").read_bytes())
    with pytest.raises(ValueError, match=r"a\.m.* and .*a\.m.* would both become a\.mp4"):
        find_sources([videos])
    (videos / "a.mkv").rename(videos / "a, b.mkv")
    with pytest.raises(ValueError, match=r"a, b\.mkv: its path has a comma"):
        crop(videos, options(tmp_path))
    (videos / "a, b.mkv").unlink()
    with pytest.raises(ValueError, match="they would replace the videos"):
        crop(videos, BatchOptions(tmp_path, "videos", detector=DetectorOptions("landmarks")))
    with pytest.raises(ValueError, match="expected a folder's name"):
        crop(videos, BatchOptions(tmp_path, "a/b"))


def test_numbered_clips_do_not_take_another_videos_name(tmp_path):
    folder = tmp_path / "videos"
    write_video(folder / "a.mp4", np.concatenate([textured(15, seed=1), textured(15, seed=2)]))
    write_video(folder / "a_01.mp4", textured(15))
    for name, num_frames in (("a", 30), ("a_01", 15)):
        np.save(folder / f"{name}.npy", np.stack([mean_face_68()] * num_frames))
    outcome = crop(folder, options(tmp_path))
    found = {source.stem.name: record for source, record in outcome.done}
    assert found["a"].rejected == ["its clip a_01 would have the name of another video's; rename one"]
    assert [clip.path for clip in found["a_01"].clips] == ["a_01.mp4"]


def test_transcripts(tmp_path):
    path = tmp_path / "a.txt"
    assert transcript(path) is None
    for content, expected in {
        "Hello  there,\nGeneral": "Hello there, General",
        "Text:  SO {THIS} IS IT\nConf:  3\n\nWORD START END\n": "so this is it",
        " \n": None,
        "Text:  \n": None,
    }.items():
        path.write_text(content)
        assert transcript(path) == expected


def test_the_command(videos, tmp_path, capsys):
    arguments = ["crop", str(videos), "--root-dir", str(tmp_path / "out"), "--detector", "landmarks"]
    assert prepare_data.main([*arguments, "--num-workers", "1"]) == 0
    said = capsys.readouterr().out
    assert "3 videos: 2 became 2 clips, 2.0 s" in said
    assert "face lost and interpolated in 0 of 50 frames (0.0%)" in said
    assert "without sound: 1 clip\n" in said
    assert f"{videos / 'none.mp4'}: 0.00-0.60 s: no face" in said
    assert "1 with a transcript in" in said
    assert prepare_data.main(arguments) == 0
    assert "3 videos, 3 of them done before: 2 became 2 clips" in capsys.readouterr().out
    only = ["crop", str(videos / "none.mp4"), *arguments[2:]]
    assert prepare_data.main(only) == 1, "no clip at all"
    assert prepare_data.main(["crop", str(videos), "--root-dir", "x", "--detector", "magic"]) == 2
    assert "There are: blazeface, landmarks, mediapipe" in capsys.readouterr().err
    assert prepare_data.main([*arguments, "--speaker", "loudest"]) == 2
    assert prepare_data.main([*arguments, "--num-workers", "0"]) == 2


@pytest.mark.slow
def test_processes_write_the_same(videos, tmp_path):
    here, there = (
        options(tmp_path),
        BatchOptions(tmp_path / "there", "own", detector=DetectorOptions("landmarks"), num_workers=2),
    )
    crop(videos, here)
    assert len(crop(videos, there).done) == 3
    assert contents(here.data_set.folder) == contents(there.data_set.folder)


def test_settings_that_find_no_face_cost_no_clips(videos, tmp_path):
    crop(videos, options(tmp_path))
    before = {name: data for name, data in contents(tmp_path / "out").items() if name.endswith(".mp4")}
    assert len(before) == 2
    outcome = crop(videos, options(tmp_path, crop=CropOptions(speaker=5)))
    assert len(outcome.failed) == 2
    after = {name: data for name, data in contents(tmp_path / "out").items() if name.endswith(".mp4")}
    assert after == before
