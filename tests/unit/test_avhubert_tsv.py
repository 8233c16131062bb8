"""Manifests: .tsv with .wrd and .cluster_counts; what is read, and what is refused."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from datamodules import formats
from datamodules.formats import avhubert_tsv
from datamodules.formats._checks import LabelError

TEXTS = ("one", "two", "three", "four", "five", "six", "seven", "eight")


def row(id="lrs3/en-en", name="a", num_frames=4, more=""):
    return f"{id}\tclips/{name}.mp4\tclips/{name}.wav\t{num_frames}\t2560{more}"


def write(
    folder: Path,
    rows: Sequence[str],
    root: str = ".",
    texts: Sequence[str] | None = None,
    counts: Sequence[str] | None = None,
) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "train.tsv"
    path.write_text("\n".join([root, *rows]) + "\n")
    path.with_suffix(".wrd").write_text("".join(f"{text}\n" for text in texts or TEXTS[: len(rows)]))
    if counts is not None:
        path.with_suffix(".cluster_counts").write_text("".join(f"{line}\n" for line in counts))
    return path


def read(path: Path, root_dir: Path | str = "data", **options):
    return avhubert_tsv.read(path, Path(root_dir), **{"media": (), **options})


def refusal(path: Path, **options) -> str:
    with pytest.raises(LabelError) as caught:
        read(path, **options)
    return str(caught.value)


def test_a_line_becomes_an_utterance(tmp_path):
    path = write(
        tmp_path, [row("lrs3/en-es/x", num_frames=6)], texts=["  hola,   a\ttodos "], counts=["1 2 3"]
    )
    [utterance] = read(path)
    assert utterance.id == "lrs3/en-es/x"
    assert utterance.video_path == Path("data/clips/a.mp4")
    assert utterance.audio_path == Path("data/clips/a.wav")
    assert (utterance.num_frames, utterance.text) == (6, "hola, a todos")
    assert utterance.languages == ("en", "es")
    assert utterance.run_lengths == (1, 2, 3)
    assert utterance.source == f"{path}:2"


def test_files_beside_are_optional_or_not(tmp_path):
    path = write(tmp_path, [row()])
    assert read(path)[0].run_lengths is None
    path.with_suffix(".wrd").unlink()
    assert f"train.wrd: no such file; expected the transcripts of {path}" in refusal(path)


def test_a_sixth_column_windows_line_ends_and_a_byte_order_mark_are_fine(tmp_path):
    path = write(tmp_path, [row(more="\t3.2")])
    for file in (path, path.with_suffix(".wrd")):
        file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes().replace(b"\n", b"\r\n") + b"\r\n")
    [utterance] = read(path)
    assert utterance.text == "one"
    assert utterance.video_path == Path("data/clips/a.mp4")


def test_a_root_named_in_braces_is_given_by_a_prefix(tmp_path):
    """Manifests of MMS-LLaMA: six columns, no languages, several roots."""
    path = tmp_path / "train.tsv"
    names = ("{LRS3_ROOT}/a/1", "{VOX2_ROOT}/b/2")
    rows = [f"lrs3/lrs3_video_seg24s\t{name}.mp4\t{name}.wav\t50\t32000\t1.07\n" for name in names]
    path.write_text("".join(["/\n", *rows]))
    path.with_suffix(".wrd").write_text("one\ntwo\n")
    prefixes = ("{LRS3_ROOT}=lrs3", "{VOX2_ROOT}=/data/vox2")
    first, second = formats.read(path, tmp_path, (), {"avhubert-tsv": {"path_prefix": prefixes}})
    assert (first.video_path, second.audio_path) == (tmp_path / "lrs3/a/1.mp4", Path("/data/vox2/b/2.wav"))
    assert first.languages == ("en", "en")
    with pytest.raises(ValueError, match=r"(?s)\{LRS3_ROOT\}/a/1.mp4.*--path-prefix"):
        formats.read(path, tmp_path, ("video",))


def test_texts_may_be_empty_or_hold_nothing_to_see(tmp_path):
    path = write(tmp_path, [row()] * 4, texts=["", "a", "\u200b", " "])
    utterances = read(path)
    assert [utterance.text for utterance in utterances] == ["", "a", "\u200b", ""]
    assert [utterance.has_text for utterance in utterances] == [False, True, False, False]


@pytest.mark.parametrize(
    ("row_id", "languages"),
    [
        ("lrs3/en-pt", ("en", "pt")),
        ("muavic/es-en/a/b", ("es", "en")),
        ("trainval/0d6iSvF1UmA/00009", ("en", "en")),
        ("test/ab-cdefghij/1", ("en", "en")),
        ("clip", ("en", "en")),
    ],
)
def test_languages_are_read_off_the_id(tmp_path, row_id, languages):
    [utterance] = read(write(tmp_path, [row(row_id)]))
    assert utterance.languages == languages


def test_ids_are_made_unique_with_the_line_in_the_tsv(tmp_path):
    rows = [row("lrs3/en-es"), row("lrs3/en-es"), row("alone"), row("odd:3"), row("lrs3/en-es:2")]
    utterances = read(write(tmp_path, rows))
    ids = [utterance.id for utterance in utterances]
    assert ids == ["lrs3/en-es:2", "lrs3/en-es:3", "alone", "odd:3:5", "lrs3/en-es:2:6"]
    assert [avhubert_tsv.row_id(utterance) for utterance in utterances] == [
        line.split("\t")[0] for line in rows
    ]


@pytest.mark.parametrize(
    ("root", "video", "prefixes", "expected"),
    [
        (".", "clips/a.mp4", (), "data/clips/a.mp4"),
        ("", "clips/a.mp4", (), "data/clips/a.mp4"),
        ("lrs3", "clips/a.mp4", (), "data/lrs3/clips/a.mp4"),
        ("/big/lrs3", "clips/a.mp4", (), "/big/lrs3/clips/a.mp4"),
        ("/", "/path/to/lrs3/a.mp4", (), "/path/to/lrs3/a.mp4"),
        ("/", "path/to/lrs3/a.mp4", (), "/path/to/lrs3/a.mp4"),
        ("/", "/path/to/lrs3/a.mp4", ("/path/to/lrs3=/big/lrs3",), "/big/lrs3/a.mp4"),
        ("/", "/path/to/lrs3/a.mp4", ("/path/to/=/big/",), "/big/lrs3/a.mp4"),
        ("/", "/path/to/lrs3/a.mp4", ("/path/to=",), "data/lrs3/a.mp4"),
        ("/", "/path/to/lrs3/a.mp4", ("/path/to=sub",), "data/sub/lrs3/a.mp4"),
        ("/", "/path/to/lrs3/a.mp4", ("/path/to/lr=/big",), "/path/to/lrs3/a.mp4"),
        ("/", "/path/to/lrs3/a.mp4", ("/other=/x", "/path=/big", "/path/to=/y"), "/big/to/lrs3/a.mp4"),
        ("/", "/path/to/lrs3/a.mp4", ("/=/mnt",), "/mnt/path/to/lrs3/a.mp4"),
        (".", "clips/a.mp4", ("clips=/big",), "/big/a.mp4"),
        ("lrs3", "clips/a.mp4", ("lrs3/clips=/",), "/a.mp4"),
    ],
)
def test_roots_and_prefixes(tmp_path, root, video, prefixes, expected):
    path = write(tmp_path, [row().replace("clips/a.mp4", video)], root=root)
    [utterance] = formats.read(path, "data", (), {"avhubert-tsv": {"path_prefix": prefixes}})
    assert str(utterance.video_path) == expected


def test_prefixes_are_old_and_new(tmp_path):
    path = write(tmp_path, [row()])
    for wrong in ("/path", "=/new", ""):
        with pytest.raises(ValueError, match="OLD=NEW"):
            formats.read(path, "data", (), {"avhubert-tsv": {"path_prefix": [wrong]}})


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        ("lrs3/en-en\ta.mp4\ta.wav\t4", "expected 5 columns divided by tabs"),
        (row(more="\t1\t2"), "audio samples), found 7"),
        ("", "expected 5 columns divided by tabs (id, video, audio, video frames, audio samples), found 1"),
        (row(num_frames=0), "expected a positive number of video frames in column 4, found '0'"),
        (row(num_frames="4.0"), "expected a positive number of video frames in column 4, found '4.0'"),
        (row(num_frames=-1), "found '-1'"),
        ("x\t\ta.wav\t4\t1", "expected a video path, found nothing"),
        ("x\ta.mp4\t \t4\t1", "expected an audio path, found nothing"),
        ("\ta.mp4\ta.wav\t4\t1", "expected an id, found nothing"),
        (
            row("lrs3/en-de"),
            "expected a language or a pair of them (en, en-es) out of en, es, fr, it, pt, found 'en-de'",
        ),
    ],
)
def test_broken_lines_are_refused(tmp_path, bad, reason):
    message = refusal(write(tmp_path, [row(), bad, row()]))
    assert f"train.tsv:3: {reason}" in message or ("train.tsv:3: " in message and reason in message)
    assert "train.tsv:2" not in message
    assert "labels/README.md" in message


def test_many_broken_lines_are_counted(tmp_path):
    message = refusal(write(tmp_path, [row(num_frames=0)] * 8))
    assert "train.tsv:2: " in message
    assert "and 3 more lines that cannot be used" in message


def test_broken_files_are_refused(tmp_path):
    assert "train.tsv:1: expected the root folder alone, found 5 columns" in refusal(
        write(tmp_path, [row()], root=row())
    )
    assert "train.tsv:1: expected clips after the root, found none" in refusal(write(tmp_path, []))
    path = write(tmp_path, [row(), row()], texts=["one"])
    assert "train.wrd: found 1 lines for 2 clips; expected one for each" in refusal(path)
    path.with_suffix(".wrd").write_text("one\ntwo\n\nfour\n")
    assert "train.wrd: found 4 lines for 2 clips" in refusal(path)
    path.with_suffix(".wrd").write_text("one\ntwo\n\n\n")
    assert len(read(path)) == 2, "blank lines at the end are fine"


def test_the_last_text_may_be_empty(tmp_path):
    path = write(tmp_path, [row(), row()], texts=["one", ""])
    assert read(path)[1].text == ""


@pytest.mark.parametrize(
    ("counts", "reason"),
    [
        (["4", "1 2"], "train.cluster_counts:2: expected counts that sum to the clip's 4 frames, found 3"),
        (
            ["4", "2 0 2"],
            "train.cluster_counts:2: expected positive numbers of frames divided by spaces, found '0'",
        ),
        (
            ["x", "4"],
            "train.cluster_counts:1: expected positive numbers of frames divided by spaces, found 'x'",
        ),
        (["4", "5 -1"], "found '-1'"),
        (["4", ""], "divided by spaces, found nothing"),
        (["4", "4", "4"], "train.cluster_counts: found 3 lines for 2 clips"),
    ],
)
def test_counts_must_fit(tmp_path, counts, reason):
    assert reason in refusal(write(tmp_path, [row(), row()], counts=counts))


def test_missing_media_are_counted_and_the_remedy_named(tmp_path):
    path = write(tmp_path, [row(name=f"clip{i}") for i in range(7)])
    message = refusal(path, root_dir=tmp_path, media=("audio", "video"))
    assert f"train.tsv:2: expected a video at {tmp_path}/clips/clip0.mp4, found none" in message
    assert "and 2 more lines" in message
    assert "--path-prefix OLD=NEW" in message
    (tmp_path / "clips").mkdir()
    for i in range(7):
        (tmp_path / f"clips/clip{i}.wav").touch()
    assert len(read(path, tmp_path, media=("audio",))) == 7


def test_manifests_are_found_by_name(tmp_path):
    path = write(tmp_path / "labels" / "vsr", [row()])
    (tmp_path / "labels" / "b.csv").touch()
    assert formats.find("vsr/train.tsv", tmp_path) == path
    with pytest.raises(ValueError, match=r"label files there: b\.csv, vsr/train\.tsv$"):
        formats.find("vsr/trian.tsv", tmp_path)


def test_formats_without_whole_paths_ignore_prefixes(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("lrs3,x/a.mp4,4,,hello\n")
    [utterance] = formats.read(path, tmp_path, (), {"avhubert-tsv": {"path_prefix": ["lrs3=/big"]}})
    assert utterance.video_path == tmp_path / "lrs3/x/a.mp4"
