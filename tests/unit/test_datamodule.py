"""The data module: what arrives in a batch, seeded chance, broken clips, label files that are refused."""

import logging
from pathlib import Path

import pytest
import torch

from datamodules.batch import TextIds, Utterance
from datamodules.datamodule import DataModule
from datamodules.media import MediaError
from tests.unit.media_files import tone, write_corpus, write_wav

LENGTHS = [10, 12, 15, 18, 20, 22, 25, 25]


def encode_text(utterance: Utterance) -> TextIds:
    number = int(utterance.text.split()[-1])
    return TextIds(prefix=torch.tensor([1]), suffix=torch.tensor([2]), target=torch.arange(number + 1))


def two_channels(waveform: torch.Tensor) -> torch.Tensor:
    return torch.stack([waveform, -waveform], dim=1)[::160]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("corpus")
    write_corpus(root, LENGTHS)
    write_wav(root / "noise.wav", tone(5000, 3000))
    return root


@pytest.fixture
def sound_corpus(tmp_path) -> Path:
    write_corpus(tmp_path, [20] * 12, video=False)
    return tmp_path


def data_module(root, **options):
    defaults = {"media": ("audio",), "encode_text": encode_text, "train_file": "train.csv", "max_frames": 60}
    module = DataModule(root, **{**defaults, **options})
    for stage in ("fit", "test"):
        module.setup(stage)
    return module


def by_id(batches):
    found = {}
    for batch in batches:
        clips = {name: padded.unpad() for name, padded in batch.inputs.items()}
        for i, utterance in enumerate(batch.utterances):
            assert utterance.id not in found
            found[utterance.id] = {name: values[i] for name, values in clips.items()}
    return found


def assert_same(left, right):
    assert left.keys() == right.keys()
    for clip, inputs in left.items():
        for name, values in inputs.items():
            assert values.equal(right[clip][name]), (clip, name)


def differ(left, right, name):
    return sum(not left[clip][name].equal(right[clip][name]) for clip in left)


@pytest.mark.parametrize("num_workers", [0, 2])
def test_batches_carry_both_media_in_step(corpus, num_workers):
    module = data_module(
        corpus,
        media=("audio", "video"),
        val_file="train.csv",
        num_workers=num_workers,
        noise=[str(corpus / "noise.wav")],
    )
    for loader in (module.train_dataloader(), module.val_dataloader()):
        batches = list(loader)
        assert len(batches) == len(loader)
        assert sorted(u.num_frames for batch in batches for u in batch.utterances) == LENGTHS
        for batch in batches:
            frames = [utterance.num_frames for utterance in batch.utterances]
            assert batch.inputs["video"].lengths.tolist() == frames
            assert batch.inputs["audio"].lengths.tolist() == [640 * n for n in frames]
            assert batch.inputs["video"].values.shape == (len(batch), max(frames), 88, 88)
            assert len(batch) * max(frames) <= 60
            for utterance, ids in zip(batch.utterances, batch.text_ids, strict=True):
                assert ids.target.equal(encode_text(utterance).target)


def test_the_encoders_own_step_comes_last(corpus):
    [batch] = data_module(corpus, prepare_audio=two_channels, max_frames=500).train_dataloader()
    audio = batch.inputs["audio"]
    assert audio.values.shape == (8, 4 * 25, 2)
    assert audio.lengths.tolist() == [4 * utterance.num_frames for utterance in batch.utterances]


def test_chance_is_seeded_by_seed_epoch_and_clip(corpus):
    options = {"media": ("audio", "video"), "noise": [str(corpus / "noise.wav")]}
    module = data_module(corpus, **options)
    loader = module.train_dataloader()
    first = by_id(loader)
    assert_same(first, by_id(loader))
    other_batches = data_module(corpus, max_frames=26, num_workers=2, **options).train_dataloader()
    assert_same(first, by_id(other_batches))
    other_seed = by_id(data_module(corpus, seed=43, **options).train_dataloader())
    module.set_epoch(1)
    later = by_id(loader)
    for name in ("audio", "video"):
        assert differ(first, later, name) >= 6
        assert differ(first, other_seed, name) >= 6


def test_workers_that_outlive_an_epoch_know_the_next(corpus):
    module = data_module(corpus, num_workers=2)
    loader = module.train_dataloader()
    epochs = []
    for epoch in range(2):
        module.set_epoch(epoch)
        epochs.append(by_id(loader))
    assert differ(*epochs, "audio") >= 4
    module.set_epoch(0)
    assert_same(epochs[0], by_id(loader))


def test_evaluation_is_the_same_every_time(corpus):
    options = {"test_file": "train.csv", "noise": [str(corpus / "noise.wav")]}
    noisy = data_module(corpus, decode_snr_db=0, **options)
    clean = data_module(corpus, **options)
    assert_same(by_id(noisy.test_dataloader()), by_id(noisy.test_dataloader()))
    assert_same(
        by_id(noisy.test_dataloader()),
        by_id(data_module(corpus, decode_snr_db=0, **options).test_dataloader()),
    )
    assert differ(by_id(noisy.test_dataloader()), by_id(clean.test_dataloader()), "audio") == len(LENGTHS)


def test_noises_of_all_kinds_are_the_same_in_any_process(corpus):
    """Drawn by seed, epoch and clip: not by worker, batch or rank."""
    (corpus / "folder").mkdir()
    for pitch in (200, 500):
        write_wav(corpus / "folder" / f"{pitch}.wav", tone(40_000, pitch))
    kinds = [str(corpus / "noise.wav"), str(corpus / "folder"), "speaker", "pink"]
    options = {"noise": kinds, "train_snrs_db": (0,), "test_file": "train.csv", "decode_snr_db": 0}
    one, many = (
        data_module(corpus, num_workers=workers, max_frames=frames, **options)
        for workers, frames in ((0, 60), (2, 26))
    )
    assert_same(by_id(one.train_dataloader()), by_id(many.train_dataloader()))
    assert_same(by_id(one.test_dataloader()), by_id(many.test_dataloader()))
    clean = data_module(corpus, test_file="train.csv")
    assert differ(by_id(one.test_dataloader()), by_id(clean.test_dataloader()), "audio") == len(LENGTHS)


def test_long_clips_are_left_out_of_training_and_counted(corpus, caplog):
    with caplog.at_level(logging.WARNING):
        module = data_module(corpus, val_file="train.csv", max_frames=20)
    assert "skipped 3 of 8 clips, longer than the 20 frames of a batch" in caplog.text
    assert len(by_id(module.train_dataloader())) == 5
    assert len(by_id(module.val_dataloader())) == 8, "evaluation keeps them"
    with pytest.raises(ValueError, match="all 8 clips are longer than a batch of 5 frames"):
        data_module(corpus, max_frames=5)


def break_clips(root, numbers):
    for number in numbers:
        (root / f"toy/toy_video_seg24s/main/{number:04d}.wav").write_bytes(b"RIFF")


@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_broken_clip_is_left_out_of_training(sound_corpus, caplog, num_workers):
    break_clips(sound_corpus, [3])
    loader = data_module(sound_corpus, num_workers=num_workers).train_dataloader()
    with caplog.at_level(logging.WARNING):
        found = by_id(loader)
    assert len(found) == 11
    assert loader.num_broken == 1
    assert "skipped a broken clip (1 in this epoch, at most 1)" in caplog.text
    assert "train.csv:4" in caplog.text
    assert "0003.wav" in caplog.text


@pytest.mark.parametrize("num_workers", [0, 2])
def test_too_many_broken_clips_stop_training(sound_corpus, num_workers):
    break_clips(sound_corpus, [3, 7])
    loader = data_module(sound_corpus, num_workers=num_workers).train_dataloader()
    with pytest.raises(MediaError, match=r"2 broken clips in this epoch, expected at most 1 .*000[37]\.wav"):
        list(loader)


def test_a_batch_that_loses_every_clip_gets_another(sound_corpus):
    break_clips(sound_corpus, [3])
    loader = data_module(sound_corpus, max_frames=20).train_dataloader()
    batches = list(loader)
    assert [len(batch) for batch in batches] == [1] * 12, "ranks stay in step"
    names = [batch.utterances[0].id[-4:] for batch in batches]
    assert "0003" not in names
    assert len(set(names)) == 11, "one stood in for it"


@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_broken_clip_stops_evaluation(sound_corpus, num_workers):
    break_clips(sound_corpus, [3])
    loader = data_module(sound_corpus, test_file="train.csv", num_workers=num_workers).test_dataloader()
    with pytest.raises(
        MediaError, match=r"^[^\n]*train\.csv:4: [^\n]*0003\.wav: [^\n]*evaluation needs every clip"
    ):
        list(loader)


def test_label_files_are_checked_before_anything_starts(sound_corpus):
    with pytest.raises(ValueError, match=r"train\.csv:1: expected a video at"):
        data_module(sound_corpus, media=("video",))
    (sound_corpus / "toy/toy_video_seg24s/main/0005.wav").unlink()
    with pytest.raises(ValueError, match=r"train\.csv:6: expected audio at"):
        data_module(sound_corpus)
    with pytest.raises(ValueError, match=r"label files there: train\.csv"):
        data_module(sound_corpus, train_file="trian.csv")


def test_options_are_checked(corpus):
    with pytest.raises(ValueError, match="expected media out of audio, video, found \\['depth'\\]"):
        data_module(corpus, media=("depth",))
    with pytest.raises(ValueError, match="an SNR of 0 dB needs a noise file"):
        data_module(corpus, decode_snr_db=0)
    with pytest.raises(ValueError, match="no test clips: expected a test label file"):
        data_module(corpus).test_dataloader()
    assert data_module(corpus).val_dataloader() == []


def test_limit(corpus):
    module = data_module(corpus, limit=3)
    assert [utterance.text[-1] for utterance in module.utterances["train"]] == ["0", "1", "2"]
