"""Folders are replaced whole, and what a killed process left is settled."""

import os

import pytest

from llama_avsr.checkpoints import durable


def fill(folder, text):
    folder.mkdir(parents=True)
    (folder / "file").write_text(text)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_replacing(tmp_path):
    for text in ("one", "two"):
        with durable.replacing(tmp_path / "a") as temporary:
            (temporary / "file").write_text(text)
        assert (tmp_path / "a" / "file").read_text() == text
        assert names(tmp_path) == ["a"]


def test_a_failure_changes_nothing(tmp_path):
    fill(tmp_path / "a", "one")
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(NotADirectoryError), durable.replacing(tmp_path / "a") as temporary:
        (temporary.parent / "file" / "file").write_text("two")
    (tmp_path / "file").unlink()
    assert names(tmp_path) == ["a"]
    assert (tmp_path / "a" / "file").read_text() == "one"


@pytest.mark.parametrize("call", range(3))
def test_killed_while_replacing(tmp_path, monkeypatch, call):
    """At each rename, and before the old folder has been removed."""
    fill(tmp_path / "a", "one")
    real, calls = os.replace, []

    def replace(source, target):
        calls.append(target)
        if len(calls) > call:
            raise KeyboardInterrupt
        real(source, target)

    monkeypatch.setattr("os.replace", replace)
    # A killed process cleans nothing up.
    monkeypatch.setattr("shutil.rmtree", lambda *_, **__: None)
    if call == 2:
        monkeypatch.setattr("os.fsync", lambda _: None)
    try:
        with durable.replacing(tmp_path / "a") as temporary:
            (temporary / "file").write_text("two")
    except KeyboardInterrupt:
        assert call < 2
    monkeypatch.undo()
    left = names(tmp_path)
    durable.recover_all(tmp_path)
    assert names(tmp_path) == ["a"]
    assert (tmp_path / "a" / "file").read_text() == ("one" if call < 2 else "two")
    assert len(left) == 2


def test_what_was_being_removed_does_not_come_back(tmp_path, monkeypatch):
    fill(tmp_path / "a", "one")
    monkeypatch.setattr("shutil.rmtree", lambda *_, **__: None)
    durable.remove(tmp_path / "a")
    monkeypatch.undo()
    durable.recover_all(tmp_path)
    assert names(tmp_path) == []


def test_an_old_copy_left_behind_is_no_obstacle(tmp_path):
    fill(tmp_path / "a", "two")
    fill(tmp_path / ".a.old", "one")
    fill(tmp_path / ".a.tmp", "half")
    with durable.replacing(tmp_path / "a") as temporary:
        (temporary / "file").write_text("three")
    assert names(tmp_path) == ["a"]
    assert (tmp_path / "a" / "file").read_text() == "three"
    durable.remove(tmp_path / "a")
    assert names(tmp_path) == []


@pytest.mark.parametrize("links", [True, False])
def test_copy(tmp_path, monkeypatch, links):
    fill(tmp_path / "a", "one")
    if not links:
        monkeypatch.setattr("os.link", lambda *_: (_ for _ in ()).throw(OSError("no links here")))
    durable.copy(tmp_path / "a", tmp_path / "b")
    durable.remove(tmp_path / "a")
    assert (tmp_path / "b" / "file").read_text() == "one"
