"""Clips to a batch: lengths are right, and every value is where it belongs."""

from pathlib import Path

import pytest
import torch

from datamodules.batch import Example, TextIds, Utterance
from datamodules.collate import collate


def example(name, **inputs):
    utterance = Utterance(
        id=name,
        video_path=Path(f"{name}.mp4"),
        audio_path=Path(f"{name}.wav"),
        num_frames=1,
        text=name,
        source=f"labels.csv:{len(name)}",
    )
    text_ids = TextIds(prefix=torch.tensor([1]), suffix=torch.tensor([2]), target=torch.arange(len(name)))
    return Example(utterance=utterance, inputs=inputs, text_ids=text_ids)


def test_lengths_and_values():
    lengths = (3, 5, 1)
    clips = [
        example(f"clip{n}", audio=torch.full((640 * n,), float(n)), video=torch.full((n, 4, 4), float(n)))
        for n in lengths
    ]
    batch = collate(clips)
    assert [utterance.id for utterance in batch.utterances] == ["clip3", "clip5", "clip1"]
    assert batch.inputs["video"].values.shape == (3, 5, 4, 4)
    assert batch.inputs["audio"].values.shape == (3, 3200)
    assert batch.inputs["video"].lengths.tolist() == list(lengths)
    assert batch.inputs["audio"].lengths.tolist() == [640 * n for n in lengths]
    for name, padded in batch.inputs.items():
        for clip, values in zip(clips, padded.unpad(), strict=True):
            assert values.equal(clip.inputs[name])
    assert [len(ids.target) for ids in batch.text_ids] == [5, 5, 5]


def test_what_cannot_be_collated():
    with pytest.raises(ValueError, match="found none"):
        collate([])
    with pytest.raises(
        ValueError, match=r"labels\.csv:2: expected the media \['audio'\].* found \['video'\]"
    ):
        collate([example("a", audio=torch.zeros(3)), example("bb", video=torch.zeros(3, 4, 4))])
