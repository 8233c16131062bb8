"""Clips with the speech of others."""

from __future__ import annotations

from pathlib import Path

import pytest

from datamodules.batch import Utterance
from llama_avsr.evaluation.control import with_others_speech


def clips(names: str) -> list[Utterance]:
    """A clip for each letter: `a` has one frame, `b` two, ..."""
    return [
        Utterance(
            id=f"{name}:{line}",
            video_path=Path(f"{name}.mp4"),
            audio_path=Path(f"{name}.wav"),
            num_frames=ord(name) - ord("a") + 1,
            text=f"text {line}",
            source=f"x.tsv:{line}",
            run_lengths=(ord(name) - ord("a") + 1,),
        )
        for line, name in enumerate(names)
    ]


@pytest.mark.parametrize("names", ["ab", "abc", "aabb", "abab", "abcdefghijkl", "aaaaab"])
def test_no_clip_keeps_its_own_speech(names: str) -> None:
    own = clips(names)
    found = with_others_speech(own)
    for before, after in zip(own, found, strict=True):
        assert after.video_path != before.video_path
        assert after.audio_path == after.video_path.with_suffix(".wav")
        assert after.run_lengths == (after.num_frames,) == (ord(after.video_path.stem) - ord("a") + 1,)
        assert (after.id, after.text, after.source) == (before.id, before.text, before.source)


def test_donors_are_drawn_and_not_neighbours() -> None:
    names = "abcdefghijklmnopqrstuvwxyz"
    found = with_others_speech(clips(names))
    apart = [abs(ord(clip.video_path.stem) - ord(name)) for name, clip in zip(names, found, strict=True)]
    assert sum(apart) / len(apart) > 4
    assert sorted(clip.video_path.stem for clip in found) == list(names)
    assert with_others_speech(clips(names)) == found


def test_one_clip_has_no_other() -> None:
    with pytest.raises(ValueError, match="--shuffle-speech needs two clips or more, found 1"):
        with_others_speech(clips("aa"))
