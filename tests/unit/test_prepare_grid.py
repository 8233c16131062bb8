"""GRID's layouts, sentences, splits and word times."""

from __future__ import annotations

import csv
import itertools
from pathlib import Path

import pytest

from llama_avsr.commands import prepare
from preparation.datasets import grid
from preparation.datasets.grid import Split
from preparation.datasets.segments import WholeText
from preparation.datasets.transcripts import TranscriptError

REAL = Path(__file__).parents[3] / "shared" / "grid"
ALIGNMENT = (
    "0 23750 sil\n23750 29500 bin\n29500 34000 blue\n34000 35500 at\n35500 41000 f\n41000 47250 two\n"
    "47250 53000 now\n53000 74500 sil\n"
)


def touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(ALIGNMENT if path.suffix == ".align" else "")


@pytest.mark.parametrize(
    ("video", "aligned"),
    [
        ("s3/bbaf2n.mpg", "s3/bbaf2n.align"),
        ("s3/bbaf2n.mp4", "align/s3/bbaf2n.align"),
        ("grid/s3/video/mpg_6000/bbaf2n.mpg", "alignments/s3/bbaf2n.align"),
        ("video/s3/bbaf2n.mpg", "align/bbaf2n.align"),
        ("s3/id2_vcd_bbaf2n.mpg", "s3/id2_vcd_bbaf2n.align"),
        ("s3/bbaf2n.mpg", None),
    ],
)
def test_layouts(video: str, aligned: str | None, tmp_path: Path) -> None:
    touch(tmp_path / video, tmp_path / "s1" / "lwbsza.mpg")
    if aligned:
        touch(tmp_path / aligned)
    test, train = grid.items(tmp_path)[0]
    assert (test.name, test.subset) == ("s1/lwbsza", "test")
    assert test.load_transcript() == WholeText("LAY WHITE BY S ZERO AGAIN")
    assert (train.name, train.video) == (f"s3/{Path(video).stem}", tmp_path / video)
    assert train.load_transcript() == WholeText("BIN BLUE AT F TWO NOW")
    assert isinstance(train.transcript, Path) == (aligned is not None)


def test_one_video_in_two_qualities_is_one_clip(tmp_path: Path) -> None:
    names = [tmp_path / "s3" / "video" / kind / "bbaf2n.mpg" for kind in ("mpg_vcd", "mpg_6000")]
    touch(*names, tmp_path / "s2" / "lwbsza.mpg")
    assert [item.video for item in grid.items(tmp_path)[0]][1:] == names[1:]


def test_speakers_that_are_links_and_a_link_in_a_circle(tmp_path: Path) -> None:
    touch(tmp_path / "disk" / "s3" / "bbaf2n.mpg", tmp_path / "disk" / "s1" / "lwbsza.mpg")
    touch(tmp_path / "disk" / "s3" / "bbaf2n.align")
    source = tmp_path / "grid"
    source.mkdir()
    for speaker in ("s1", "s3"):
        (source / speaker).symlink_to(tmp_path / "disk" / speaker)
    (tmp_path / "disk" / "s3" / "again").symlink_to(source)
    items = grid.items(source)[0]
    assert [item.name for item in items] == ["s1/lwbsza", "s3/bbaf2n"]
    assert isinstance(items[1].transcript, Path)


def test_the_folder_of_one_speaker(tmp_path: Path) -> None:
    touch(*(tmp_path / "s7" / f"bbaf{digit}n.mpg" for digit in "123456789z"))
    found, _ = grid.items(tmp_path / "s7", Split("random"))
    assert {item.name.partition("/")[0] for item in found} == {"s7"}
    with pytest.raises(ValueError, match="--protocol random"):
        grid.items(tmp_path / "s7")


def test_what_is_no_sentence(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no such folder"):
        grid.items(tmp_path / "none")
    touch(tmp_path / "s1" / "holiday.mp4")
    with pytest.raises(ValueError, match="found 1 videos of other names"):
        grid.items(tmp_path)
    touch(tmp_path / "s1" / "bbaf2n.mp4", tmp_path / "s3" / "bbaf2n.mp4")
    found, left_out = grid.items(tmp_path)
    assert len(found) == 2
    assert [name for name, _ in left_out] == ["holiday"]


@pytest.mark.parametrize("content", ["", "0 100 sil\n", "bin blue at f two now\n", "5 3 bin\n", "0 x bin\n"])
def test_what_is_no_alignment(content: str, tmp_path: Path) -> None:
    path = tmp_path / "a.align"
    path.write_text(content)
    with pytest.raises(TranscriptError, match=r"a\.align"):
        grid.read_words(path)


SENTENCES = [
    f"b{colour}a{letter}{digit}n" for colour in "bgrw" for letter in "abcdefghij" for digit in "12345z"
]
CLIPS = [(speaker, sentence) for speaker in ("s1", "s3", "s4", "s20") for sentence in SENTENCES]


def by_subset(split: Split) -> dict[str, set[tuple[str, str]]]:
    subsets = split.subsets(CLIPS)
    assert split.subsets(CLIPS[::-1]) == subsets[::-1]
    return {
        name: {clip for clip, own in zip(CLIPS, subsets, strict=True) if own == name} for name in grid.SUBSETS
    }


def test_unseen_speakers() -> None:
    found = by_subset(Split())
    assert {speaker for speaker, _ in found["test"]} == {"s1", "s20"}
    assert {speaker for speaker, _ in found["train"]} == {"s3", "s4"}
    assert len(found["val"]) == 2 * 12


def test_overlapped() -> None:
    clips = [
        (speaker, "".join(word))
        for speaker in ("s3", "s4")
        for word in itertools.product("bp", "bgrw", "a", "abcdefghij", "12345", "n")
    ]
    subsets = Split("overlapped", seed=1).subsets(clips)
    for speaker in ("s3", "s4"):
        own = [subset for clip, subset in zip(clips, subsets, strict=True) if clip[0] == speaker]
        assert own.count("test") == grid.OVERLAPPED_TESTED
    tested = [
        {c[1] for c, subset in zip(clips, subsets, strict=True) if subset == "test" and c[0] == who}
        for who in ("s3", "s4")
    ]
    assert tested[0] != tested[1]


def test_random_divides_by_sentence() -> None:
    found = by_subset(Split("random", val_share=0.05, test_share=0.15))
    sentences = {name: {sentence for _, sentence in clips} for name, clips in found.items()}
    assert {name: len(own) for name, own in sentences.items()} == {"train": 192, "val": 12, "test": 36}
    assert not sentences["train"] & (sentences["test"] | sentences["val"])
    other = by_subset(Split("random", seed=1))
    assert other["test"] != found["test"]


@pytest.mark.skipif(not REAL.is_dir(), reason=f"no GRID clips at {REAL.parent.name}/{REAL.name}")
def test_real_clips(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = tmp_path / "grid" / "s1"
    source.mkdir(parents=True)
    for path in sorted((REAL / "s1").iterdir())[:9]:
        (source / path.name).symlink_to(path)
    flags = ["--source-dir", str(source.parent), "--root-dir", str(tmp_path / "data"), "--num-workers", "1"]
    flags += ["--protocol", "random", "--test-share", "0.34", "--val-share", "0"]
    assert prepare.main(["grid", *flags]) == 0
    labels = tmp_path / "data" / "labels"
    (line,) = (labels / "grid_test_transcript_lengths_seg16s_LLM_lowercase.csv").read_text().splitlines()
    assert line.startswith("grid,grid_video_seg16s/s1/")
    assert int(line.split(",")[2]) == 75
    with (labels / "grid_words_seg16s.csv").open() as file:
        words = list(csv.DictReader(file))
    assert len(words) == 18
    assert words[0] == {
        "clip": "grid/grid_video_seg16s/s1/bbaf2n",
        "word": "bin",
        "start_s": "0.95",
        "end_s": "1.18",
    }
    capsys.readouterr()
    assert prepare.main(["grid", *flags]) == 0
    assert "all 3 videos had been gone through" in capsys.readouterr().out
    assert (
        prepare.main(
            [
                "validate",
                "grid_test_transcript_lengths_seg16s_LLM_lowercase.csv",
                "--root-dir",
                str(tmp_path / "data"),
            ]
        )
        == 0
    )
