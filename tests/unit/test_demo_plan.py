"""Who says what in a demo corpus."""

import pytest

from llama_avsr.demo.corpus.grammar import held_out
from llama_avsr.demo.corpus.plan import SPLITS, Settings, babble_plan, plan
from llama_avsr.demo.corpus.speakers import training_speakers, unseen_speakers

SETTINGS = Settings(num_train=120, num_val=20, num_test=30, seed=4)


def texts(split: str) -> set[str]:
    return {clip.text for clip in plan(SETTINGS) if clip.split == split}


def test_sizes_and_names():
    clips = plan(SETTINGS)
    assert [sum(clip.split == split for clip in clips) for split in SPLITS] == [120, 20, 30, 30]
    assert len({clip.id for clip in clips}) == len(clips)
    assert len({clip.drawing_seed(0) for clip in clips}) == len(clips)
    first = clips[0]
    assert first.rel_path == f"demo_video_seg16s/train/{first.speaker.name}/00000.mp4"
    assert f"{first.id}.mp4" == f"demo/{first.rel_path}"


def test_no_sentence_is_in_two_splits():
    splits = [texts(split) for split in SPLITS]
    assert len(set.union(*splits)) == sum(map(len, splits)) == 200


def test_held_out_sentences_are_tested_and_never_trained_on():
    assert texts("train").isdisjoint(held_out())
    for split in SPLITS[1:]:
        assert texts(split) <= held_out()


@pytest.mark.parametrize("num_train", [120, 57_590])
def test_babble_says_nothing_that_is_tested(num_train):
    settings = Settings(num_train=num_train, num_val=20, num_test=30, seed=4)
    parts = babble_plan(settings)
    said = {text for _, spoken in parts for text in spoken}
    assert said.isdisjoint(held_out())
    assert len(said) == 6 * 40
    speaking = {speaker.variant for speaker, _ in parts}
    assert len(speaking) == 6
    assert speaking.isdisjoint(clip.speaker.variant for clip in plan(SETTINGS))


def test_speakers_take_turns():
    by_split = {split: {c.speaker.name for c in plan(SETTINGS) if c.split == split} for split in SPLITS}
    seen = {speaker.name for speaker in training_speakers()}
    assert by_split["train"] == seen
    assert by_split["test_seen"] | by_split["val"] <= seen
    assert by_split["test_unseen"] == {speaker.name for speaker in unseen_speakers()}


def test_more_training_clips_keep_the_test_sets():
    more = plan(Settings(num_train=300, num_val=20, num_test=30, seed=4))
    assert [clip for clip in more if clip.split != "train"] == [
        c for c in plan(SETTINGS) if c.split != "train"
    ]
    assert [clip for clip in more if clip.split == "train"][:120] == plan(SETTINGS)[:120]


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        ({"num_train": 0}, "--num-train 0; expected 1 or more"),
        ({"num_test": -1}, "--num-test -1"),
        ({"num_test": 3300}, "expected at most 6400"),
        ({"num_train": 57_601}, "only 57600 of the grammar's 64000 are left"),
    ],
)
def test_impossible_numbers_are_errors(numbers, message):
    with pytest.raises(ValueError, match=message):
        plan(Settings(**numbers))
