"""Data sets of videos that show faces, whose landmarks lie in files: from the video to a batch."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import prepare_data
from datamodules.batch import TextIds
from datamodules.datamodule import DataModule
from datamodules.media import load_audio, load_video
from preparation.faces.options import MissingExtraError
from tests.faces import mean_face_68, moved, textured
from tests.unit.media_files import tone, write_video, write_wav
from tests.unit.preparation_sets import label_lines, lrs_text

ROOT = Path(__file__).parents[2]
TRAIN = "mine_train_transcript_lengths_seg2s_LLM_lowercase.csv"


def write_face_video(stem: Path, num_frames: int, faces=None, seed: int = 0, sound: bool = True) -> None:
    """A video of 240x240 with landmarks beside it: a face that moves, or `faces`, one or None a frame."""
    frames = textured(num_frames, seed=seed)
    write_video(stem.with_suffix(".mp4"), frames, waveform=tone(640 * num_frames) if sound else None)
    write_landmarks(stem, faces or [moved(mean_face_68(), t / 2) for t in range(num_frames)])


def write_landmarks(stem: Path, faces: list) -> None:
    stem.parent.mkdir(parents=True, exist_ok=True)
    nobody = np.full((68, 2), np.nan)
    np.savez(stem.with_suffix(".npz"), np.stack([nobody if face is None else face for face in faces]))


def run(command: str, source: Path, root: Path, *flags: object) -> int:
    arguments = [command, "--source-dir", source, "--root-dir", root, "--seg-seconds", 2]
    arguments += ["--num-workers", 1, "--detector", "landmarks", *flags]
    return prepare_data.main([str(argument) for argument in arguments])


@pytest.fixture
def source(tmp_path):
    folder = tmp_path / "source"
    write_face_video(folder / "a.mp4", 30)
    (folder / "a.txt").write_text("Well, that's it.")
    write_face_video(folder / "more/b.mp4", 20, seed=1)
    (folder / "more/b.txt").write_text("And more.")
    write_face_video(folder / "nobody.mp4", 20, [None] * 20, seed=2)
    (folder / "nobody.txt").write_text("nobody is seen")
    return folder


def test_a_folder_becomes_batches(source, tmp_path, capsys):
    root = tmp_path / "root"
    assert run("folder", source, root, "--dataset", "mine") == 0
    said = capsys.readouterr().out
    assert f"1 no mouth found; train/nobody: {source / 'nobody.mp4'}: no face" in said
    assert label_lines(root, TRAIN) == [
        "mine,mine_video_seg2s/train/a.mp4,30,0,well that's it",
        "mine,mine_video_seg2s/train/more/b.mp4,20,0,and more",
    ]
    assert (root / "mine/left_out_seg2s.csv").read_text().splitlines()[1].startswith("train/nobody,no mouth")


def test_the_clips_are_mouths_and_their_sound(source, tmp_path):
    root = tmp_path / "root"
    run("folder", source, root, "--dataset", "mine")
    stem = root / "mine/mine_video_seg2s/train/a"
    assert load_video(stem.with_suffix(".mp4"), 30).shape == (30, 96, 96)
    sound = load_audio(stem.with_suffix(".wav"), None, 30)
    assert len(sound) == 30 * 640
    assert np.corrcoef(sound[2000:15_000], tone(30 * 640)[2000:15_000])[0, 1] > 0.99

    data = DataModule(
        root,
        media=("audio", "video"),
        encode_text=lambda u: TextIds(
            prefix=torch.tensor([1]), suffix=torch.tensor([2]), target=torch.arange(len(u.text))
        ),
        test_file=TRAIN,
        max_frames=100,
    )
    data.setup("test")
    [batch] = list(data.test_dataloader())
    assert sorted(batch.inputs["video"].lengths.tolist()) == [20, 30]
    assert batch.inputs["video"].values.shape == (2, 30, 88, 88)


def test_what_was_found_counts_until_settings_change(source, tmp_path, capsys):
    root = tmp_path / "root"
    run("folder", source, root, "--dataset", "mine")
    run("folder", source, root, "--dataset", "mine")
    assert "all 3 videos had been gone through" in capsys.readouterr().out
    run("folder", source, root, "--dataset", "mine", "--speaker", "talking")
    assert "mine: went through 3 videos; it" in capsys.readouterr().out


def test_settings_that_find_no_face_cost_no_clips(source, tmp_path, capsys):
    root = tmp_path / "root"
    run("folder", source, root, "--dataset", "mine")
    clips = {path: path.read_bytes() for path in root.rglob("*.mp4")}
    labels = label_lines(root, TRAIN)
    run("folder", source, root, "--dataset", "mine", "--speaker", "5")
    assert "fewer than 5 faces" in capsys.readouterr().out
    assert {path: path.read_bytes() for path in root.rglob("*.mp4")} == clips
    assert len(clips) == len(labels) == 2
    assert label_lines(root, TRAIN) == labels


def test_a_face_that_is_lost_ends_a_stretch_of_a_talk(tmp_path, capsys):
    """Cues while nobody is seen are left out; a published clip is one mouth from beginning to end."""
    face = mean_face_68()
    faces = [face] * 20 + [None] * 25 + [face] * 20
    source, root = tmp_path / "source", tmp_path / "root"
    write_face_video(source / "talk", 65, faces)
    cues = [("0,100", "0,700", "one"), ("1,000", "1,600", "two"), ("1,900", "2,500", "three")]
    lines = [f"00:00:0{start} --> 00:00:0{end}\n{text}\n" for start, end, text in cues]
    (source / "talk.srt").write_text("\n".join(lines))
    assert run("folder", source, root, "--dataset", "mine", "--max-gap", "0.2") == 0
    assert [line.split(",")[-1] for line in label_lines(root, TRAIN)] == ["one", "three"]
    assert "1 words or subtitles while no mouth is seen" in capsys.readouterr().out

    (source / "talk.srt").rename(source / "talk.txt")
    (source / "talk.txt").write_text("all of it")
    assert run("folder", source, root, "--dataset", "mine", "--seg-seconds", 3) == 0
    [line] = label_lines(root, TRAIN.replace("seg2s", "seg3s"))
    assert line == "mine,mine_video_seg3s/train/talk.mp4,65,0,all of it"


def test_voxceleb2_has_its_sound_elsewhere(tmp_path):
    source, root = tmp_path / "source", tmp_path / "root"
    write_face_video(source / "dev/mp4/id1/vid/00001", 30, sound=False)
    write_wav(source / "dev/wav/id1/vid/00001.wav", tone(30 * 640, 300))
    assert run("vox2", source, root) == 0
    sound = load_audio(root / "vox2/vox2_video_seg2s/dev/id1/vid/00001_00.wav", None, 30)
    assert np.abs(sound - tone(30 * 640, 300)).max() < 1e-3


def test_landmarks_of_a_published_set_lie_in_a_folder_of_their_own(tmp_path, capsys):
    source, root, landmarks = tmp_path / "source", tmp_path / "root", tmp_path / "landmarks"
    stem = source / "test/idC/00002"
    write_video(stem.with_suffix(".mp4"), textured(25), waveform=tone(640 * 25))
    stem.with_suffix(".txt").write_text(lrs_text("I HAVE TO SAY"))
    write_landmarks(landmarks / "test/idC/00002", [mean_face_68()] * 25)
    assert run("lrs3", source, root) == 2
    assert "no mouth found" in (problem := capsys.readouterr().err)
    assert "expected landmarks at" in problem
    assert run("lrs3", source, root, "--landmarks", landmarks) == 0
    assert len(label_lines(root, "lrs3_test_transcript_lengths_seg2s_LLM_lowercase.csv")) == 1


def test_a_detector_that_cannot_be_had_is_no_fault_of_the_videos(source, tmp_path, capsys, monkeypatch):
    root = tmp_path / "root"
    assert run("folder", source, root, "--detector", "magic") == 2
    assert "There are: blazeface, landmarks, mediapipe" in capsys.readouterr().err
    assert run("folder", source, root, "--landmarks", tmp_path / "nowhere") == 2
    assert "nowhere: no such file or folder; expected landmarks" in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "mediapipe", None)
    monkeypatch.delitem(sys.modules, "preparation.faces.detectors.mediapipe", raising=False)
    assert run("folder", source, root, "--detector", "mediapipe") == 2
    said = capsys.readouterr().err
    assert "llama-avsr[mediapipe]" in said
    assert "--already-cropped takes videos that show mouths alone" in said
    assert not list(root.rglob("*.csv"))


def test_without_opencv_one_hears_which_extra_to_install():
    """In a process of its own: modules that are imported already stay as they are."""
    code = "import sys; sys.modules['cv2'] = None; import preparation.faces.mouth"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert "MissingExtraError" in done.stderr
    assert "llama-avsr[video]" in done.stderr
    assert issubclass(MissingExtraError, ValueError), "a user's error for every program"
