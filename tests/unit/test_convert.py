"""prepare_data.py convert: between .csv and .tsv, checked first, whole or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

import prepare_data
from datamodules import formats
from datamodules.media import headers
from tests.unit.media_files import moving_bar, tone, write_corpus, write_video, write_wav

GOLDEN = Path(__file__).parents[1] / "golden/vsp_llm/data"
LENGTHS = [8, 10, 12]
FOLDER = "toy/toy_video_seg24s/main"
CSV = "".join(
    f"toy,toy_video_seg24s/main/{i:04d}.mp4,{num_frames},,clip, number {i}\n"
    for i, num_frames in enumerate(LENGTHS)
)
COUNTS = "3 5\n10\n1 2 3 4 2\n"


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("corpus")
    write_corpus(root, LENGTHS)
    (root / "labels/clean.csv").write_text(CSV)
    (root / "labels/clean.counts").write_text(COUNTS)
    return root


@pytest.fixture
def convert(corpus, tmp_path, capsys):
    """Runs the command from a name below labels/ (or a path) to a name in tmp_path."""

    def run(source, target, *flags, root=corpus, status=0) -> str:
        command = ["convert", source, tmp_path / target, "--root-dir", root, *flags]
        found = prepare_data.main([str(word) for word in command])
        said = capsys.readouterr()
        assert found == status, said.err
        return said.out if status == 0 else said.err

    return run


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_csv_to_tsv_and_back(corpus, tmp_path, convert):
    said = convert("clean.csv", "a.tsv")
    assert (tmp_path / "a.tsv").read_text().splitlines() == [
        ".",
        f"toy/en-en/toy_video_seg24s/main/0000\t{FOLDER}/0000.mp4\t{FOLDER}/0000.wav\t8\t5120",
        f"toy/en-en/toy_video_seg24s/main/0001\t{FOLDER}/0001.mp4\t{FOLDER}/0001.wav\t10\t6400",
        f"toy/en-en/toy_video_seg24s/main/0002\t{FOLDER}/0002.mp4\t{FOLDER}/0002.wav\t12\t7680",
    ]
    assert (tmp_path / "a.wrd").read_text() == "clip, number 0\nclip, number 1\nclip, number 2\n"
    assert names(tmp_path) == ["a.tsv", "a.wrd"]
    assert "Converted 3 clips" in said
    assert "Not in" not in said
    assert "audio samples of 3 clips counted in the sound file's header" in said
    said = convert(tmp_path / "a.tsv", "b.csv")
    assert (tmp_path / "b.csv").read_bytes() == (corpus / "labels/clean.csv").read_bytes()
    assert "languages: en-en 3" in said


def test_tsv_to_csv_and_back(corpus, tmp_path, convert):
    counts = corpus / "labels/clean.counts"
    convert("clean.csv", "a.tsv", "--lang", "en-pt", "--cluster-counts", counts)
    said = convert(tmp_path / "a.tsv", "b.csv")
    assert "as a .csv cannot hold it:\n  languages: en-pt 3\n  counts of units: 3 clips\n" in said
    convert(tmp_path / "b.csv", "c.tsv", "--lang", "en-pt", "--cluster-counts", counts)
    for suffix in (".tsv", ".wrd", ".cluster_counts"):
        assert (tmp_path / f"c{suffix}").read_bytes() == (tmp_path / f"a{suffix}").read_bytes()
    assert (tmp_path / "c.cluster_counts").read_text() == COUNTS
    [first, *_] = formats.read(tmp_path / "c.tsv", corpus)
    assert first.languages == ("en", "pt")
    assert first.run_lengths == (3, 5)


@pytest.mark.parametrize("name", ["vsr/en/test", "vst/en/es/test"])
def test_recorded_manifests_there_and_back(tmp_path, convert, name):
    source = GOLDEN / f"{name}.tsv"
    before = formats.read(source, GOLDEN)
    pair = "-".join(before[0].languages)
    convert(source, "a.csv", "--check-frames", root=GOLDEN)
    counts = source.with_suffix(".cluster_counts")
    convert(tmp_path / "a.csv", "b.tsv", "--lang", pair, "--cluster-counts", counts, root=GOLDEN)
    after = formats.read(tmp_path / "b.tsv", GOLDEN)
    for field in ("video_path", "audio_path", "num_frames", "text", "languages", "run_lengths"):
        assert [getattr(u, field) for u in after] == [getattr(u, field) for u in before]


def test_four_columns_become_five(corpus, tmp_path, convert):
    four = CSV.splitlines()
    (tmp_path / "four.csv").write_text("".join(line.split(",,")[0] + ",5 6\n" for line in four))
    for i in range(3):
        path = corpus / f"toy/toy_text_seg24s/main/{i:04d}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"CLIP, NUMBER {i}\n")
    said = convert(tmp_path / "four.csv", "five.csv")
    assert (tmp_path / "five.csv").read_text() == CSV
    assert "column 4, which is not used: 3 clips" in said


def test_what_a_tsv_cannot_hold_is_said(corpus, tmp_path, convert):
    assert "column 4, which is not used: 3 clips" in convert("train.csv", "a.tsv")
    path = tmp_path / "a.tsv"
    path.write_text(path.read_text().replace("\t5120\n", "\t5120\t3.1\n"))
    said = convert(path, "b.tsv")
    assert "sixth column: 1 clips" in said
    assert (tmp_path / "b.tsv").read_text() == path.read_text().replace("\t3.1", "")


def test_several_languages_are_chosen_from(tmp_path, convert):
    source = GOLDEN / "mix/train.tsv"
    message = convert(source, "a.csv", root=GOLDEN, status=2)
    assert (
        "several languages (en-en 4, en-es 2), which a .csv cannot tell apart; choose with --lang" in message
    )
    message = convert(source, "a.csv", "--lang", "en-fr", root=GOLDEN, status=2)
    assert "--lang en-fr: no such clips in" in message
    assert "found en-en 4, en-es 2" in message
    message = convert(source, "a.csv", "--lang", "en-de", root=GOLDEN, status=2)
    assert (
        "expected a language or a pair of them (en, en-es) out of en, es, fr, it, pt, found 'en-de'"
        in message
    )
    assert not names(tmp_path)
    said = convert(source, "a.csv", "--lang", "en-es", root=GOLDEN)
    assert "Left out:\n  4 of other languages: en-en 4\n" in said
    assert len((tmp_path / "a.csv").read_text().splitlines()) == 2


def test_clips_are_chosen_by_length(tmp_path, convert):
    limits = ("--min-frames", "10", "--max-frames", "10")
    said = convert("clean.csv", "a.csv", *limits)
    assert (tmp_path / "a.csv").read_text() == CSV.splitlines(keepends=True)[1]
    assert "  1 shorter than 10 frames\n  1 longer than 10 frames\n" in said
    message = convert("clean.csv", "b.csv", "--max-frames", "5", status=2)
    assert "none of its 3 clips is left: 3 longer than 5 frames" in message
    flags = ("--max-frames", "500", "--no-media-check")
    convert(GOLDEN / "mix/train.tsv", "c.tsv", *flags, root=GOLDEN)
    assert [u.num_frames for u in formats.read(tmp_path / "c.tsv", GOLDEN, ())] == [19, 19, 13, 31, 500]
    assert len((tmp_path / "c.cluster_counts").read_text().splitlines()) == 5


def test_missing_media_stop_it_unless_they_are_elsewhere(tmp_path, convert):
    source = GOLDEN / "mix/train.tsv"
    message = convert(source, "a.csv", "--lang", "en-en", root=GOLDEN, status=2)
    assert "train.tsv:4: expected a video at" in message
    assert "train.tsv:7: clips/missing.mp4 is a duplicate clip, on line 4" in message
    assert not names(tmp_path)
    said = convert(source, "a.tsv", "--no-media-check", root=GOLDEN)
    assert "audio samples of 6 clips taken as 640 a video frame" in said
    assert "\t500\t320000\n" in (tmp_path / "a.tsv").read_text()


def test_sound_alone_is_enough_if_asked(tmp_path, convert):
    write_wav(tmp_path / "data/toy/a.wav", tone(6400))
    (tmp_path / "in.csv").write_text("toy,a.mp4,10,,x\n")
    assert "in.csv:1: expected a video at" in convert(
        tmp_path / "in.csv", "a.tsv", root=tmp_path / "data", status=2
    )
    convert(tmp_path / "in.csv", "a.tsv", "--media", "audio", "--check-frames", root=tmp_path / "data")
    assert "\t10\t6400\n" in (tmp_path / "a.tsv").read_text()


def test_where_the_numbers_of_samples_come_from(tmp_path, convert):
    root = tmp_path / "data"
    write_video(root / "toy/a.mp4", moving_bar(10), waveform=tone(6400))
    write_video(root / "toy/b.mp4", moving_bar(10))
    write_video(root / "toy/c.mp4", moving_bar(10))
    write_wav(root / "toy/c.wav", tone(13000, rate_hz=32_000), 32_000)
    (tmp_path / "in.csv").write_text("".join(f"toy,{name}.mp4,10,,x\n" for name in "abc"))
    said = convert(tmp_path / "in.csv", "a.tsv", root=root)
    numbers = [int(line.split("\t")[4]) for line in (tmp_path / "a.tsv").read_text().splitlines()[1:]]
    assert numbers[0] == pytest.approx(6400, abs=1100), "AAC fills whole blocks of 1024"
    assert numbers[1:] == [6400, 6500]
    for line in ("1 clips counted in the sound", "1 clips counted in the header", "1 clips taken as 640"):
        assert f"audio samples of {line}" in said


def test_frames_are_compared_with_the_media(corpus, tmp_path, convert):
    (tmp_path / "in.csv").write_text(CSV.replace("0001.mp4,10", "0001.mp4,13"))
    convert(tmp_path / "in.csv", "fine.csv")
    message = convert(tmp_path / "in.csv", "a.csv", "--check-frames", status=2)
    assert f"in.csv:2: expected 13 frames of 25 fps, found 10 in {corpus}/{FOLDER}/0001.mp4" in message
    assert "in.csv:1" not in message
    # One frame off is what a label may be; units must each have theirs.
    (tmp_path / "in.csv").write_text(CSV.replace("0001.mp4,10", "0001.mp4,11"))
    convert(tmp_path / "in.csv", "a.csv", "--check-frames")
    (tmp_path / "counts").write_text(COUNTS.replace("10", "11"))
    flags = ("--check-frames", "--cluster-counts", tmp_path / "counts")
    assert "in.csv:2: expected 11 frames" in convert(tmp_path / "in.csv", "a.tsv", *flags, status=2)
    message = convert("clean.csv", "b.csv", "--check-frames", "--no-media-check", status=2)
    assert "--check-frames reads the media" in message


def test_a_broken_file_is_named_with_its_line(tmp_path, convert):
    root = tmp_path / "data"
    write_video(root / "toy/a.mp4", moving_bar(10))
    (root / "toy/b.mp4").write_bytes(b"nothing")
    (tmp_path / "in.csv").write_text("toy,a.mp4,10,,x\ntoy,b.mp4,10,,x\n")
    message = convert(tmp_path / "in.csv", "a.tsv", root=root, status=2)
    assert f"in.csv:2: {root}/toy/b.mp4: cannot be read (InvalidDataError" in message


def test_sound_that_is_too_short_for_its_label(corpus):
    utterance = formats.read(corpus / "labels/clean.csv", corpus)[0]
    assert headers.sound_problem(utterance, 640 * 18, Path("a.wav")) is None
    assert "expected sound of 8 video frames, found 19.0 in a.wav" in headers.sound_problem(
        utterance, 640 * 19, Path("a.wav")
    )


def test_headers_of_another_frame_rate(tmp_path):
    path = write_video(tmp_path / "a.mp4", moving_bar(60), fps=50)
    assert headers.num_video_frames(path) == 30
    assert headers.num_audio_samples(path) is None
    fragmented = write_video(tmp_path / "b.mp4", moving_bar(10), movflags="frag_keyframe+empty_moov")
    assert headers.num_video_frames(fragmented) == 10


def manifest(folder: Path, texts: list[str], root: str = ".", video: str = "toy/{}.mp4") -> Path:
    path = folder / "in.tsv"
    rows = [f"lrs3/en-es\t{video.format(i)}\ttoy/{i}.wav\t10\t6400\n" for i in range(len(texts))]
    path.write_text(f"{root}\n" + "".join(rows))
    path.with_suffix(".wrd").write_text("".join(f"{text}\n" for text in texts))
    return path


def test_empty_texts(tmp_path, convert):
    source = manifest(tmp_path, ["uno", "", "\u200b"])
    message = convert(source, "a.tsv", "--no-media-check", status=2)
    assert "in.tsv:3: expected a transcript, found empty text; --allow-empty keeps such clips" in message
    assert "in.tsv:4: expected a transcript" in message
    convert(source, "a.tsv", "--no-media-check", "--allow-empty")
    assert (tmp_path / "a.wrd").read_text() == "uno\n\n\u200b\n"
    assert (tmp_path / "a.tsv").read_text() == source.read_text()
    message = convert(source, "a.csv", "--no-media-check", "--allow-empty", status=2)
    assert "in.tsv:3: a .csv holds no clip without text" in message
    assert "in.tsv:4" not in message


def test_paths_below_the_root_and_elsewhere(tmp_path, convert):
    source = manifest(tmp_path, ["uno"], root="/old", video="/old/toy/{}.mp4")
    message = convert(source, "a.csv", "--no-media-check", root=tmp_path / "data", status=2)
    assert f"expected a video in a folder below {tmp_path}/data, found /old/toy/0.mp4" in message
    prefix = ("--no-media-check", "--path-prefix")
    convert(source, "a.csv", *prefix, "/old=", root=tmp_path / "data")
    assert (tmp_path / "a.csv").read_text() == "toy,0.mp4,10,,uno\n"
    convert(source, "a.tsv", *prefix, "/old=/new", root=tmp_path / "data")
    assert (tmp_path / "a.tsv").read_text() == "/\nlrs3/en-es\t/new/toy/0.mp4\t/new/toy/0.wav\t10\t6400\n"
    message = convert(source, "b.tsv", *prefix, "/odl=/new", status=2)
    assert "--path-prefix /odl=/new: no path of" in message
    assert "begins with /odl; the first is /old/toy/0.mp4" in message
    assert "rewrites the paths of a .tsv" in convert("clean.csv", "b.tsv", *prefix, "a=b", status=2)


def test_sound_elsewhere_is_said(tmp_path, convert):
    source = manifest(tmp_path, ["uno"], video="toy/video/{}.mp4")
    said = convert(source, "a.csv", "--no-media-check", root=tmp_path)
    assert f"paths of the sound: 1 clips (first {tmp_path}/toy/0.wav)" in said


@pytest.mark.parametrize("video", ["{}.mp4", "toy/a,{}.mp4"])
def test_paths_that_a_csv_cannot_hold(tmp_path, convert, video):
    source = manifest(tmp_path, ["uno"], video=video)
    message = convert(source, "a.csv", "--no-media-check", root=tmp_path, status=2)
    assert "in.tsv:2: " in message
    assert "in a folder below" in message or "no comma, found 'toy/a,0.mp4'" in message


def test_counts_must_fit_the_clips(corpus, tmp_path, convert):
    (tmp_path / "counts").write_text("8\n10\n1 2\n")
    flags = ("--cluster-counts", tmp_path / "counts")
    message = convert("clean.csv", "a.tsv", *flags, status=2)
    assert "counts:3: expected counts that sum to the clip's 12 frames, found 3" in message
    assert "a .csv holds no counts of units" in convert("clean.csv", "a.csv", *flags, status=2)
    assert names(tmp_path) == ["counts"]


def test_choices_that_do_not_go_together(tmp_path, convert):
    assert "leave it out" in convert("clean.csv", "a.csv", "--lang", "en-es", status=2)
    message = convert("clean.csv", "a.tsv", "--lang", "en-es", "en-fr", status=2)
    assert "all clips of a .csv have the same languages, found en-es, en-fr" in message
    assert "expected a label file .csv or .tsv, found '.txt'" in convert("clean.csv", "a.txt", status=2)
    assert "label files there: clean.csv, train.csv" in convert("trian.csv", "a.tsv", status=2)


def test_what_is_there_is_replaced_only_if_asked(corpus, tmp_path, convert):
    counts = tmp_path / "a.cluster_counts"
    counts.write_text(COUNTS)
    convert("clean.csv", "a.tsv", "--cluster-counts", counts)
    assert counts.read_text() == COUNTS
    message = convert("clean.csv", "a.tsv", "--max-frames", "10", status=2)
    assert f"{tmp_path}/a.tsv exists already; use --overwrite, or choose another name" in message
    convert("clean.csv", "a.tsv", "--max-frames", "10", "--overwrite")
    assert names(tmp_path) == ["a.tsv", "a.wrd"], "counts of other clips must not stay behind"
    assert len(formats.read(tmp_path / "a.tsv", corpus)) == 2


def test_nothing_is_left_of_an_interrupted_writing(tmp_path, convert, monkeypatch):
    write_text = Path.write_text

    def full_disk(path: Path, *arguments, **options):
        if ".wrd" in path.name:
            raise OSError(28, "No space left on device", str(path))
        return write_text(path, *arguments, **options)

    monkeypatch.setattr(Path, "write_text", full_disk)
    assert "No space left on device" in convert("clean.csv", "a.tsv", status=2)
    assert not names(tmp_path)
