"""A control: what a model writes when it is given other clips' speech. Words that remain are guessed."""

from __future__ import annotations

from dataclasses import replace

from datamodules.batch import Batch, Padded


def with_others_speech(batch: Batch, donors: Batch) -> Batch:
    """Each clip of `batch` with the media and the runs of units of a neighbour in `donors` (as many or more).

    A clip that is there several times, in several languages, never gets its own again while there are others.
    """
    shift = _shift(batch, donors)
    count = len(batch)
    order = [(index - shift) % len(donors) for index in range(count)]
    inputs = {
        name: Padded(padded.values[order], padded.lengths[order]) for name, padded in donors.inputs.items()
    }
    utterances = [
        replace(utterance, run_lengths=donors.utterances[other].run_lengths)
        for utterance, other in zip(batch.utterances, order, strict=True)
    ]
    return replace(batch, inputs=inputs, utterances=utterances)


def _shift(batch: Batch, donors: Batch) -> int:
    """The least distance, 1 or more, at which the fewest clips find themselves."""

    def met(shift: int) -> int:
        videos = [utterance.video_path for utterance in donors.utterances]
        return sum(
            utterance.video_path == videos[(index - shift) % len(videos)]
            for index, utterance in enumerate(batch.utterances)
        )

    return min(range(1, max(len(donors), 2)), key=met)
