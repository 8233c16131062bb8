"""A control: what a model writes when it is given other clips' speech. Words that remain are guessed."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace

from datamodules.batch import Utterance

SEED = 0


def with_others_speech(utterances: Sequence[Utterance]) -> list[Utterance]:
    """Each clip with the media of one drawn from all others, whatever its batch or process.

    Neighbours would not do: in the order of their names they may say nearly the same. A clip that is there
    several times, in several languages, gets its own speech in none.

    Raises:
        ValueError: all are of one clip.
    """
    by_video = {utterance.video_path: utterance for utterance in utterances}
    if len(by_video) < 2:
        raise ValueError(f"--shuffle-speech needs two clips or more, found {len(by_video)}")
    videos = sorted(by_video)
    random.Random(SEED).shuffle(videos)
    donors = {video: by_video[other] for video, other in zip(videos, videos[1:] + videos[:1], strict=True)}
    return [_given(utterance, donors[utterance.video_path]) for utterance in utterances]


def _given(utterance: Utterance, donor: Utterance) -> Utterance:
    return replace(
        utterance,
        video_path=donor.video_path,
        audio_path=donor.audio_path,
        num_frames=donor.num_frames,
        run_lengths=donor.run_lengths,
    )
