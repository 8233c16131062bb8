"""Clips held as the bytes of their label file: the same clips, few bytes."""

import pickle
import sys
from pathlib import Path

import numpy as np
import pytest

from datamodules import formats
from datamodules.batch import Utterance
from datamodules.table import Lines, Utterances

TEXTS = ["one", "", "zwei drei", "ö  ü", "last"]


@pytest.mark.parametrize("content", ["one\n\nzwei drei\nö  ü\nlast\n", "one\n\nzwei drei\nö  ü\nlast"])
def test_lines(content):
    lines = Lines(content.encode())
    assert list(lines) == TEXTS
    assert [lines[i] for i in range(len(lines))] == TEXTS
    assert lines[-1] == "last"
    assert list(lines.between(1, 4)) == TEXTS[1:4]
    assert lines.between(1, 4)[2] == "ö  ü"
    with pytest.raises(IndexError):
        lines[5]
    assert list(Lines.of(TEXTS)) == TEXTS
    assert list(Lines(b"")) == []


def test_lines_of_several_blocks():
    texts = [str(number) for number in range(10_000)]
    assert list(Lines.of(texts)) == texts


def clip(number, text="hello"):
    return Utterance(
        id=str(number),
        video_path=Path("v.mp4"),
        audio_path=Path("a.wav"),
        num_frames=10 + number,
        text=text,
        source=f"made.csv:{number + 1}",
    )


def test_clips_are_chosen_without_being_made():
    made = []

    def make(row):
        made.append(row)
        return clip(row)

    clips = Utterances(make, [10, 11, 12, 13], [True, False, True, True])
    some = clips[clips.has_text][1:]
    assert (len(some), some.num_frames.tolist(), made) == (2, [12, 13], [])
    assert [each.id for each in some] == ["2", "3"]
    assert some[-1] == clip(3)
    assert some[np.array([1, 0])][0] == clip(3)
    with pytest.raises(IndexError):
        some[2]


def test_a_list_is_looked_at_in_the_same_way():
    listed = [clip(0), clip(1, text="\u200b")]
    clips = Utterances.of(listed)
    assert list(clips) == listed
    assert clips.has_text.tolist() == [True, False]
    assert not clips.have_units
    assert Utterances.of(clips) is clips


@pytest.fixture
def large(tmp_path):
    path = tmp_path / "large.csv"
    path.write_text(
        "".join(
            f"set,talker{i // 60}/{i % 60:05d}.mp4,{30 + i % 300},0,the fox number {i}\n"
            for i in range(20_000)
        )
    )
    return formats.read(path, tmp_path, ())


def test_a_line_takes_less_than_200_bytes(large):
    make = large._make
    arrays = (make.lines._bounds, large.num_frames, large.has_text)
    assert (sys.getsizeof(make.lines._content) + sum(array.nbytes for array in arrays)) / len(large) < 200
    assert large[12_345].text == "the fox number 12345"
    assert large[12_345].source.endswith("large.csv:12346")


def test_other_processes_get_them_by_pickle_too(large):
    copied = pickle.loads(pickle.dumps(large[10:20]))
    assert list(copied) == list(large[10:20])
