"""What runs that go on where an earlier one stopped ask of files."""

import os

from preparation.resuming import remove_parts, stamp


def test_another_file_of_its_name_is_told_apart(tmp_path):
    path = tmp_path / "a.mp4"
    assert stamp(path) is None
    path.write_text("one")
    before = stamp(path)
    assert before == stamp(path)
    os.utime(path, ns=(0, 5))
    assert stamp(path) == [3, 5] != before


def test_only_a_videos_own_leftovers_go(tmp_path):
    own = [".talk.mp4.77.part", ".talk_00.wav.77.part", ".talk_12.mp4.8.part"]
    others = [".talk10.mp4.77.part", ".talk_one.mp4.77.part", ".a talk.mp4.77.part", "talk.mp4", ".talk.part"]
    for name in own + others:
        (tmp_path / name).touch()
    remove_parts(tmp_path / "talk")
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(others)
    remove_parts(tmp_path / "nowhere/talk")
