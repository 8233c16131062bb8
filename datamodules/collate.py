"""Clips to a batch."""

from __future__ import annotations

from collections.abc import Sequence

from datamodules.batch import Batch, Example, Padded


def collate(examples: Sequence[Example]) -> Batch:
    """Stack clips of unequal length; every one must carry the same media."""
    if not examples:
        raise ValueError("expected clips to make a batch of, found none")
    names = list(examples[0].inputs)
    for example in examples:
        if list(example.inputs) != names:
            raise ValueError(
                f"{example.utterance.source}: expected the media {names} as in the rest of the batch, "
                f"found {list(example.inputs)}"
            )
    return Batch(
        utterances=[example.utterance for example in examples],
        inputs={name: Padded.from_list([example.inputs[name] for example in examples]) for name in names},
        text_ids=[example.text_ids for example in examples],
    )
