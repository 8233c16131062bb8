"""Clips with the speech of others."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from datamodules.batch import Batch, Padded, TextIds, Utterance
from llama_avsr.lightning.control import with_others_speech


def batch_of(names: str) -> Batch:
    """A clip for each letter: `a` has one frame, of value 1, `b` two of value 2, ..."""
    values = [ord(name) - ord("a") + 1 for name in names]
    none = torch.empty(0, dtype=torch.int64)
    return Batch(
        utterances=[
            Utterance(
                id=f"{name}:{line}",
                video_path=Path(f"{name}.mp4"),
                audio_path=Path(f"{name}.wav"),
                num_frames=value,
                text=f"text {line}",
                source=f"x.tsv:{line}",
                run_lengths=(value,),
            )
            for line, (name, value) in enumerate(zip(names, values, strict=True))
        ],
        inputs={"video": Padded.from_list([torch.full((value,), float(value)) for value in values])},
        text_ids=[TextIds(prefix=none, suffix=none, target=none) for _ in names],
    )


def speech_of(batch: Batch) -> str:
    return "".join(chr(int(clip[0]) + ord("a") - 1) for clip in batch.inputs["video"].unpad())


@pytest.mark.parametrize(
    ("own", "others"),
    [("abc", "cab"), ("ab", "ba"), ("aabb", "bbaa"), ("aaabbb", "bbbaaa"), ("abab", "baba")],
)
def test_no_clip_keeps_its_own_speech(own: str, others: str) -> None:
    batch = batch_of(own)
    found = with_others_speech(batch, batch)
    assert speech_of(found) == others
    assert [clip.text for clip in found.utterances] == [clip.text for clip in batch.utterances]
    assert found.text_ids == batch.text_ids
    runs = [int(run.sum()) for run in found.run_lengths]
    assert runs == found.inputs["video"].lengths.tolist() == [len(c) for c in found.inputs["video"].unpad()]


def test_a_clip_alone_takes_another_batchs_speech() -> None:
    assert speech_of(with_others_speech(batch_of("a"), batch_of("bca"))) == "c"
    assert speech_of(with_others_speech(batch_of("a"), batch_of("b"))) == "b"
