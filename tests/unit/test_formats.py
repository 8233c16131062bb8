"""Label files: what is read, and what is refused with file, line and reason."""

import os

import pytest

from datamodules import formats
from datamodules.formats import auto_avsr_csv
from datamodules.formats._checks import Kind, LabelError, Problem

FOLDER = "lrs3_video_seg24s/test"


def touch(root, *names, suffix=".mp4"):
    for name in names:
        path = root / "lrs3" / FOLDER / f"{name}{suffix}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def write(root, content, name="labels.csv"):
    path = root / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def line(name, num_frames=25, text="1 2 3,hello"):
    return f"lrs3,{FOLDER}/{name}.mp4,{num_frames},{text}\n"


def refusal(root, content, **options):
    with pytest.raises(LabelError) as caught:
        auto_avsr_csv.read(write(root, content), root, **options)
    return str(caught.value)


def test_five_columns_and_commas_in_the_text(tmp_path):
    touch(tmp_path, "a", "b")
    path = write(tmp_path, line("a") + line("b", 50, "ignored,well, yes, no"))
    first, second = auto_avsr_csv.read(path, tmp_path)
    assert first.id == f"lrs3/{FOLDER}/a"
    assert first.video_path == tmp_path / "lrs3" / FOLDER / "a.mp4"
    assert first.audio_path == tmp_path / "lrs3" / FOLDER / "a.wav"
    assert (first.num_frames, first.text, first.source) == (25, "hello", f"{path}:1")
    assert second.text == "well, yes, no"


def test_four_columns_take_the_text_beside(tmp_path):
    touch(tmp_path, "a")
    text_path = tmp_path / "lrs3" / "lrs3_text_seg24s/test/a.txt"
    text_path.parent.mkdir(parents=True)
    text_path.write_text("IT'S  UPPER-CASE THERE\n")
    path = write(tmp_path, line("a", text="12 7 88"))
    [utterance] = auto_avsr_csv.read(path, tmp_path)
    assert utterance.text == "it's upper-case there"
    text_path.write_text("\n")
    assert "labels.csv:1: expected a transcript, found empty text" in refusal(tmp_path, path.read_bytes())
    text_path.unlink()
    assert "expected the text in" in refusal(tmp_path, path.read_bytes())
    assert "a.txt" in refusal(tmp_path, path.read_bytes())


def test_byte_order_mark_line_ends_and_blank_end_are_fine(tmp_path):
    touch(tmp_path, "a", "b")
    content = (line("a") + line("b")).replace("\n", "\r\n").encode("utf-8-sig") + b"\r\n \n"
    utterances = auto_avsr_csv.read(write(tmp_path, content), tmp_path)
    assert [utterance.text for utterance in utterances] == ["hello", "hello"]
    assert utterances[0].id.startswith("lrs3/")


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        ("lrs3,x.mp4,25\n", "labels.csv:2: expected 5 columns as on the first line, found 3"),
        ("\n", "labels.csv:2: expected 5 columns as on the first line, found 1"),
        (line("b", text="1 2 3"), "labels.csv:2: expected 5 columns as on the first line, found 4"),
        (line("b", "x"), "labels.csv:2: expected a positive number of video frames in column 3, found 'x'"),
        (line("b", 0), "labels.csv:2: expected a positive number of video frames in column 3, found '0'"),
        (line("b", "-3"), "found '-3'"),
        (line("b", "2.5"), "found '2.5'"),
        (line("b", text="1 2, "), "labels.csv:2: expected a transcript, found empty text"),
        (line("a"), f"labels.csv:2: lrs3/{FOLDER}/a is a duplicate clip, on line 1"),
        (line("zz"), "labels.csv:2: expected a video at"),
        (line("../../../b"), "labels.csv:2: expected a path below the root folder"),
        ("lrs3,/etc/b.mp4,25,1,text\n", "labels.csv:2: expected a path below the root folder"),
        ("../lrs3,b.mp4,25,1,text\n", "labels.csv:2: expected a path below the root folder"),
        ("lrs3,,25,1,text\n", "labels.csv:2: expected a path, found nothing"),
    ],
)
def test_broken_lines_are_refused(tmp_path, bad, reason):
    touch(tmp_path, "a", "b")
    message = refusal(tmp_path, line("a") + bad + line("b"))
    assert reason in message
    assert "labels/README.md" in message


def test_broken_files_are_refused(tmp_path):
    assert "found an empty file" in refusal(tmp_path, "")
    assert "found an empty file" in refusal(tmp_path, "\n\n")
    assert "labels.csv:1: expected 4 or 5 columns, found 1" in refusal(tmp_path, "hello\n")
    touch(tmp_path, "a")
    assert "labels.csv:2: expected UTF-8" in refusal(tmp_path, line("a").encode() + b"\xff\xfe\n")
    with pytest.raises(LabelError, match="cannot be read"):
        auto_avsr_csv.read(tmp_path / "nowhere.csv", tmp_path)


@pytest.mark.parametrize("num_missing", [3, 20])
def test_missing_media_are_counted(tmp_path, num_missing):
    touch(tmp_path, *[f"good{i}" for i in range(20)])
    lines = [line(f"good{i}") for i in range(20)] + [line(f"bad{i}") for i in range(num_missing)]
    message = refusal(tmp_path, "".join(lines))
    assert "labels.csv:21: expected a video at" in message
    assert "bad0.mp4" in message
    assert "good" not in message
    if num_missing > 5:
        assert "and 15 more lines" in message


def test_which_media_must_exist(tmp_path):
    touch(tmp_path, "sound_only", suffix=".wav")
    touch(tmp_path, "both")
    path = write(tmp_path, line("sound_only") + line("both"))
    assert len(auto_avsr_csv.read(path, tmp_path, ("audio",))) == 2
    assert "labels.csv:1: expected a video" in refusal(tmp_path, path.read_bytes(), media=("audio", "video"))
    assert "expected audio at" in refusal(tmp_path, line("neither"), media=("audio",))


def test_the_folder_is_the_registry(tmp_path):
    assert "auto-avsr-csv" in formats.known()
    touch(tmp_path, "a")
    assert len(formats.read(write(tmp_path, line("a")), tmp_path)) == 1
    with pytest.raises(
        ValueError, match=r"labels\.xml: no label format reads '\.xml'; known formats: auto-avsr-csv"
    ):
        formats.read(write(tmp_path, line("a"), "labels.xml"), tmp_path)


def test_label_files_are_found_by_name(tmp_path):
    (tmp_path / "labels").mkdir()
    path = write(tmp_path / "labels", "x", "train.csv")
    assert formats.find("train.csv", tmp_path) == path
    assert formats.find(path, tmp_path) == path
    with pytest.raises(
        ValueError, match=r"no label file at test\.csv nor at .*label files there: train\.csv"
    ):
        formats.find("test.csv", tmp_path)
    with pytest.raises(ValueError, match="no such folder"):
        formats.find("train.csv", tmp_path / "nowhere")


@pytest.mark.parametrize("end", ["\r", "\r\n", "\r\r\n", "\n"])
def test_line_ends_of_any_system(tmp_path, end):
    touch(tmp_path, "a", "b")
    path = write(tmp_path, (line("a") + line("b")).replace("\n", end))
    assert [u.id for u in formats.read(path, tmp_path)] == [f"lrs3/{FOLDER}/a", f"lrs3/{FOLDER}/b"]


def test_problems_have_a_kind(tmp_path):
    touch(tmp_path, "a", "empty")
    content = "".join([line("a"), line("a"), line("gone"), line("empty", text="1, "), line("b", 0)])
    with pytest.raises(LabelError) as error:
        formats.read(write(tmp_path, content), tmp_path)
    found = {(problem.line, problem.kind, problem.first_line) for problem in error.value.problems}
    assert found == {
        (2, Kind.DUPLICATE, 1),
        (3, Kind.MISSING_MEDIA, None),
        (4, Kind.EMPTY_TEXT, None),
        (5, Kind.BROKEN, None),
    }


def test_lines_are_counted_not_problems(tmp_path):
    problems = [Problem(number, f"{n}") for number in range(1, 8) for n in range(2)]
    message = str(LabelError.from_problems(tmp_path / "a.csv", problems))
    assert [message.count(f"a.csv:{number}:") for number in range(1, 5)] == [2, 2, 1, 0]
    assert "and 4 more lines" in message


def test_a_pipe_is_no_label_file(tmp_path):
    os.mkfifo(tmp_path / "labels.csv")
    with pytest.raises(LabelError, match=r"labels\.csv: expected a label file"):
        formats.read(tmp_path / "labels.csv", tmp_path)
