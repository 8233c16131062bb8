"""Extracting features for units: batches, shards, interruptions, and what is refused."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import numpy as np
import pytest
import torch

import prepare_data
from datamodules import formats
from datamodules.batch import Padded
from datamodules.media import MediaError, load_video
from datamodules.transforms import VideoTransform
from preparation.units import extraction, shards
from preparation.units.extraction import extract_batch, extract_shard, launched_shard
from tests.golden.av_hubert import PLAIN_CHECKPOINT
from tests.unit.media_files import moving_bar, write_video
from tests.unit.test_av_hubert_network import tiny

NUM_FRAMES = [6, 9, 4, 7, 5]
LAYER = 1


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("data")
    lines = []
    for index, num_frames in enumerate(NUM_FRAMES):
        write_video(root / "set" / f"{index}.mp4", moving_bar(num_frames, seed=index))
        lines.append(f"set,{index}.mp4,{num_frames},0,text")
    (root / "labels").mkdir()
    (root / "labels" / "train.csv").write_text("\n".join(lines) + "\n")
    return root


@pytest.fixture(scope="module")
def clips(root):
    return formats.read(root / "labels" / "train.csv", root)


@pytest.fixture(scope="module")
def model():
    return tiny()


@pytest.fixture(scope="module")
def expected(model, clips) -> list[np.ndarray]:
    """Features of each clip, taken one by one."""
    features = []
    for clip in clips:
        video = VideoTransform(train=False)(load_video(clip.video_path), None)[None, None]
        with torch.inference_mode():
            silence = torch.zeros(1, 104, video.shape[2])
            features.append(model.extract(video, silence, layer=LAYER)[0].numpy())
    return features


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch):
    monkeypatch.setattr(shards, "UTTERANCES_PER_PIECE", 2)
    monkeypatch.setattr(extraction, "UTTERANCES_PER_PIECE", 2)


def extract(model, clips, folder, **changes):
    settings = {"split": "train", "layer": LAYER, "show_progress": False, **changes}
    return extract_shard(model, clips, folder, **settings)


def shard(folder: Path, name: str = "train_0_1") -> tuple[np.ndarray, list[int]]:
    lengths = [int(line) for line in (folder / f"{name}.len").read_text().split()]
    return np.load(folder / f"{name}.npy"), lengths


@pytest.mark.parametrize("max_frames", [1, 20, 1500])
@pytest.mark.parametrize("num_workers", [0, 2])
def test_batched_equals_single_in_the_order_of_the_labels(
    model, clips, expected, tmp_path, max_frames, num_workers
):
    made = extract(model, clips, tmp_path, max_frames=max_frames, num_workers=num_workers)
    values, lengths = shard(tmp_path)
    assert lengths == NUM_FRAMES
    assert values.dtype == np.float32
    np.testing.assert_allclose(values, np.concatenate(expected), rtol=0, atol=2e-5)
    assert (made.num_utterances, made.num_frames, made.was_there, made.num_other_lengths) == (5, 31, False, 0)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "train_0_1.json",
        "train_0_1.len",
        "train_0_1.npy",
    ]


def test_batches_keep_to_their_frames(monkeypatch, model, clips, tmp_path):
    sizes = []
    original = extraction.extract_batch
    monkeypatch.setattr(
        extraction,
        "extract_batch",
        lambda m, v, *rest: sizes.append(v.values.shape[:2]) or original(m, v, *rest),
    )
    monkeypatch.setattr(extraction, "UTTERANCES_PER_PIECE", 5)
    extract(model, clips, tmp_path, max_frames=14)
    assert [tuple(size) for size in sizes] == [(1, 9), (2, 7), (2, 5)]


def test_what_lies_in_the_padding_changes_nothing(model):
    values = torch.randn(3, 8, 88, 88, generator=torch.Generator().manual_seed(0))
    lengths = torch.tensor([8, 3, 5])
    for audio in shards.AUDIO_MODES:
        clean = extract_batch(model, Padded(values, lengths), LAYER, audio)
        poisoned = values.clone()
        for clip, length in zip(poisoned, lengths, strict=True):
            clip[length:] = 1e3
        for ours, theirs, length in zip(
            clean, extract_batch(model, Padded(poisoned, lengths), LAYER, audio), lengths, strict=True
        ):
            assert len(ours) == length
            assert np.array_equal(ours, theirs)


def test_audio_modes_differ(model, clips, tmp_path):
    extract(model, clips, tmp_path / "silent")
    extract(model, clips, tmp_path / "absent", audio="absent")
    silent, absent = (shard(tmp_path / mode)[0] for mode in ("silent", "absent"))
    assert np.abs(silent - absent).max() > 0.01
    with pytest.raises(ValueError, match="audio: found 'loud', expected silent or absent"):
        extract(model, clips, tmp_path, audio="loud")


@pytest.mark.parametrize(("nshard", "sizes"), [(2, [3, 2]), (3, [2, 2, 1]), (4, [2, 2, 1, 0])])
def test_shards_are_contiguous_and_lose_nothing(model, clips, expected, tmp_path, nshard, sizes):
    found = []
    for rank in range(nshard):
        made = extract(model, clips, tmp_path, rank=rank, nshard=nshard)
        values, lengths = shard(tmp_path, f"train_{rank}_{nshard}")
        assert len(lengths) == made.num_utterances == sizes[rank]
        assert values.shape[1] == model.dim
        found.append(values)
    np.testing.assert_allclose(np.concatenate(found), np.concatenate(expected), rtol=0, atol=2e-5)
    assert len(shards.find(tmp_path, "train")) == nshard


class Interrupted(Exception):
    pass


def interrupt_after(monkeypatch, num_batches: int) -> None:
    original, calls = extraction.extract_batch, []

    def extract_batch(*arguments):
        calls.append(1)
        if len(calls) > num_batches:
            raise Interrupted
        return original(*arguments)

    monkeypatch.setattr(extraction, "extract_batch", extract_batch)


@pytest.mark.parametrize("damage", ["none", "half a clip", "half a line", "no lengths", "lost features"])
def test_an_interrupted_shard_goes_on_to_the_same_bytes(model, clips, tmp_path, monkeypatch, caplog, damage):
    whole, folder = tmp_path / "whole", tmp_path / "stopped"
    extract(model, clips, whole)
    with monkeypatch.context() as patched:
        interrupt_after(patched, 2)
        with pytest.raises(Interrupted):
            extract(model, clips, folder)
    assert not list(folder.glob("[!.]*"))
    values, lengths = folder / ".train_0_1.npy.part", folder / ".train_0_1.len.part"
    assert lengths.read_text() == "6\n9\n4\n7\n"
    if damage == "half a clip":
        values.write_bytes(values.read_bytes() + b"1234567")
    elif damage == "half a line":
        lengths.write_text("6\n9\n4\n")
    elif damage == "no lengths":
        lengths.unlink()
    elif damage == "lost features":
        values.write_bytes(values.read_bytes()[:-9])
    calls = []
    original = extraction.extract_batch
    monkeypatch.setattr(extraction, "extract_batch", lambda *a: calls.append(1) or original(*a))
    with caplog.at_level(logging.INFO):
        made = extract(model, clips, folder)
    assert not made.was_there
    assert len(calls) == {"none": 1, "half a clip": 1, "half a line": 2}.get(damage, 3)
    assert ("continuing after" in caplog.text) == (len(calls) < 3)
    for suffix in (".npy", ".len", ".json"):
        name = f"train_0_1{suffix}"
        assert (folder / name).read_bytes() == (whole / name).read_bytes()
    assert not list(folder.glob(".*"))


def test_a_finished_shard_is_recognised_and_others_are_not_overwritten(model, clips, tmp_path, caplog):
    extract(model, clips, tmp_path)
    before = (tmp_path / "train_0_1.npy").stat().st_mtime_ns
    assert extract(model, clips, tmp_path).was_there
    assert (tmp_path / "train_0_1.npy").stat().st_mtime_ns == before
    with pytest.raises(
        ValueError, match=r"with other settings \(layer 1, now 2\); choose another --out-dir, or"
    ):
        extract(model, clips, tmp_path, layer=2)
    with pytest.raises(ValueError, match=r"\(utterances '[0-9a-f]+', now '[0-9a-f]+'\)"):
        extract(model, clips[:4], tmp_path)
    other = tiny()
    with torch.no_grad():
        next(other.parameters()).add_(1)
    with pytest.raises(ValueError, match=r"\(encoder '[0-9a-f]+', now"):
        extract(other, clips, tmp_path)
    made = extract(model, clips, tmp_path, layer=2, overwrite=True)
    assert not made.was_there
    assert json.loads((tmp_path / "train_0_1.json").read_text())["layer"] == 2


def test_an_unfinished_shard_of_other_settings_is_made_anew(
    model, clips, expected, tmp_path, monkeypatch, caplog
):
    with monkeypatch.context() as patched:
        interrupt_after(patched, 2)
        with pytest.raises(Interrupted):
            extract(model, clips, tmp_path, layer=2)
    extract(model, clips, tmp_path)
    assert "an unfinished shard of other settings is replaced (layer 2, now 1)" in caplog.text
    np.testing.assert_allclose(shard(tmp_path)[0], np.concatenate(expected), rtol=0, atol=2e-5)


@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_broken_clip_is_named_and_the_rest_is_kept(model, root, tmp_path, num_workers):
    clips = formats.read(root / "labels" / "train.csv", root)
    broken = root / "set" / "4.mp4"
    content = broken.read_bytes()
    broken.write_bytes(b"no video")
    try:
        with pytest.raises(MediaError, match=r"train\.csv:5: .*4\.mp4: cannot be decoded .*; fix it and run"):
            extract(model, clips, tmp_path, num_workers=num_workers)
    finally:
        broken.write_bytes(content)
    assert (tmp_path / ".train_0_1.len.part").read_text() == "6\n9\n4\n7\n"
    assert extract(model, clips, tmp_path).num_utterances == 5


def test_lengths_are_those_of_the_videos(model, root, tmp_path):
    (root / "labels" / "long.csv").write_text("set,0.mp4,7,0,text\nset,1.mp4,9,0,text\n")
    made = extract(model, formats.read(root / "labels" / "long.csv", root), tmp_path)
    assert made.num_other_lengths == 1
    assert shard(tmp_path)[1] == [6, 9]


def test_a_layer_that_is_not_there(model, clips, tmp_path):
    with pytest.raises(ValueError, match="--layer: found 12, this encoder has layers 0 to 2"):
        extract(model, clips, tmp_path, layer=12)
    assert not list(tmp_path.iterdir())


def test_ranks_come_from_the_launcher(monkeypatch):
    for name in ("RANK", "WORLD_SIZE", "SLURM_PROCID", "SLURM_STEP_NUM_TASKS"):
        monkeypatch.delenv(name, raising=False)
    assert launched_shard(None, None) == (0, 1)
    monkeypatch.setenv("SLURM_PROCID", "0")
    assert launched_shard(None, None) == (0, 1)  # a batch script without srun
    monkeypatch.setenv("SLURM_PROCID", "3")
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "8")
    assert launched_shard(None, None) == (3, 8)
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert launched_shard(None, None) == (1, 2)
    assert launched_shard(5, 6) == (5, 6)
    with pytest.raises(ValueError, match="--rank and --nshard go together"):
        launched_shard(1, None)
    with pytest.raises(ValueError, match="expected a rank from 0 to nshard - 1"):
        launched_shard(2, 2)


def test_the_command_says_what_is_wrong(root, tmp_path, capsys):
    def fails(command: str) -> str:
        assert prepare_data.main(["units", *command.split()]) == 2
        return capsys.readouterr().err

    extract_command = (
        f"extract --root-dir {root} --label-file train.csv --encoder {PLAIN_CHECKPOINT} --num-workers 0"
    )
    assert "this encoder has layers 0 to 2" in fails(f"{extract_command} --out-dir {tmp_path}")
    features = f"--features-dir {tmp_path} --split train"
    assert "no features of split 'train'" in fails(f"fit {features} --out {tmp_path}/c.npz")
    assert prepare_data.main(["units", *f"{extract_command} --layer 1 --out-dir {tmp_path}".split()]) == 0
    assert "found suffix '.joblib'" in fails(f"fit {features} --out {tmp_path}/c.joblib")
    assert "found 4 frames of 1 clips, too few for 200" in fails(f"fit {features} --out {tmp_path}/c.npz")
    assert "--layer 2: the features in" in fails(f"fit {features} --layer 2 --out {tmp_path}/c.npz")
    assert "no features of split 'val'" in fails(
        f"fit --features-dir {tmp_path} --split val --out {tmp_path}/c.npz"
    )
    fit = f"fit {features} --num-clusters 3 --percent 1 --out {tmp_path}/c.npz"
    assert prepare_data.main(["units", *fit.split()]) == 0
    np.savez(tmp_path / "other.npz", **{**np.load(tmp_path / "c.npz"), "layer": 2})
    apply = f"apply {features} --out-dir {tmp_path}/out --centroids {tmp_path}"
    assert "features with layer 2, expected 1; features and" in fails(f"{apply}/other.npz")
    np.savez(tmp_path / "other.npz", **{**np.load(tmp_path / "c.npz"), "encoder": "0123456789"})
    assert "fitted to features of encoder 01234567" in fails(f"{apply}/other.npz")
    (tmp_path / "train_0_1.npy").rename(tmp_path / "train_0_2.npy")
    assert "1 of 2 shards of train are missing, first train_1_2.npy" in fails(f"{apply}/c.npz")
    assert not (tmp_path / "out").exists() or not list((tmp_path / "out").iterdir())
