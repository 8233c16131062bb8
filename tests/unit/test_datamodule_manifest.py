"""What the data module makes of a manifest: empty texts, runs of units that no longer fit."""

from __future__ import annotations

import logging

import pytest
import torch

from datamodules.batch import TextIds, Utterance
from datamodules.datamodule import DataModule
from datamodules.media import MediaError
from tests.unit.media_files import moving_bar, write_video


def encode_text(utterance: Utterance) -> TextIds:
    ids = torch.arange(len(utterance.text))
    return TextIds(prefix=ids, suffix=ids, target=ids)


@pytest.fixture
def root(tmp_path):
    write_video(tmp_path / "clips/a.mp4", moving_bar(8))
    return tmp_path


def data_module(root, texts, counts=None, num_frames=8, **options):
    folder = root / "labels"
    folder.mkdir(exist_ok=True)
    rows = [f"lrs3/en-es\t/old/clips/a.mp4\t/old/clips/a.wav\t{num_frames}\t5120\n"] * len(texts)
    (folder / "train.tsv").write_text("/\n" + "".join(rows))
    (folder / "train.wrd").write_text("".join(f"{text}\n" for text in texts))
    if counts:
        (folder / "train.cluster_counts").write_text(f"{counts}\n" * len(texts))
    files = {f"{split}_file": "train.tsv" for split in ("train", "val", "test")}
    module = DataModule(
        root,
        media=("video",),
        encode_text=encode_text,
        max_frames=100,
        format_options={"avhubert-tsv": {"path_prefix": ["/old="]}},
        **files,
        **options,
    )
    for stage in ("fit", "test"):
        module.setup(stage)
    return module


def test_empty_texts_are_left_out_of_training_alone(root, caplog):
    with caplog.at_level(logging.WARNING):
        module = data_module(root, ["uno", "", "\u200b", "dos"])
    assert "train.tsv: skipped 2 of 4 clips, their text is empty" in caplog.text
    sizes = {split: len(utterances) for split, utterances in module.utterances.items()}
    assert sizes == {"train": 2, "val": 4, "test": 4}
    [batch] = module.test_dataloader()
    assert len(batch) == 4
    with pytest.raises(ValueError, match="none of the 2 clips has a text to learn from"):
        data_module(root, ["", ""])


def test_runs_of_units_reach_the_batch(root):
    [batch] = data_module(root, ["uno"], "3 5").test_dataloader()
    assert batch.utterances[0].run_lengths == (3, 5)
    assert batch.utterances[0].languages == ("en", "es")


@pytest.mark.parametrize("num_frames", [6, 9, 10])
def test_a_video_of_other_length_than_its_runs_is_broken(root, num_frames):
    """A longer video is cut to its label; a shorter one has lost frames that runs count."""
    assert len(list(data_module(root, ["uno"], num_frames=num_frames).test_dataloader())) == 1
    loader = data_module(root, ["uno"], f"1 {num_frames - 1}", num_frames).test_dataloader()
    if num_frames <= 8:
        assert len(list(loader)) == 1
        return
    reason = rf"found 8 frames, expected the {num_frames} that its runs of units cover; regenerate the units"
    with pytest.raises(MediaError, match=reason):
        list(loader)
