"""Clips in tar shards: the same batches as loose files, and shards that are no good."""

import tarfile
from pathlib import Path

import pytest
import torch

from datamodules import formats
from datamodules.batch import TextIds
from datamodules.datamodule import DataModule
from datamodules.formats._checks import LabelError
from datamodules.media import MediaError, load_audio, load_video
from llama_avsr.commands.prepare import main
from tests.unit.media_files import moving_bar, tone, write_corpus, write_video

LENGTHS = [8, 12, 10, 9, 11]


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Loose clips, and the same in shards of two; the last has its sound in its video."""
    root = tmp_path_factory.mktemp("data")
    write_corpus(root, LENGTHS)
    last = root / "toy/toy_video_seg24s/main/0004"
    write_video(last.with_suffix(".mp4"), moving_bar(LENGTHS[4]), waveform=tone(640 * LENGTHS[4]))
    last.with_suffix(".wav").unlink()
    assert main(["pack", "train.csv", "--root-dir", str(root), "--clips-per-shard", "2"]) == 0
    return root


def text_ids(utterance):
    ids = torch.tensor(list(utterance.text.encode()))
    return TextIds(prefix=ids[:1], suffix=ids[:0], target=ids)


def batches(root, file, epoch, start=0):
    data = DataModule(root, media=("audio", "video"), encode_text=text_ids, train_file=file, max_frames=24)
    data.setup("fit")
    loader = data.train_dataloader()
    loader.batch_sampler.resume(epoch, start)
    return list(loader)


def test_the_same_batches_as_of_loose_files(root):
    for epoch in range(2):
        loose, packed = (batches(root, file, epoch) for file in ("train.csv", "train.shards"))
        assert len(loose) == len(packed) > 1
        for one, other in zip(loose, packed, strict=True):
            assert [u.id for u in one.utterances] == [u.id for u in other.utterances]
            assert [u.text for u in one.utterances] == [u.text for u in other.utterances]
            for medium in ("audio", "video"):
                assert torch.equal(one.inputs[medium].values, other.inputs[medium].values)
    [*_, last] = batches(root, "train.shards", 1, start=len(packed) - 1)
    assert torch.equal(last.inputs["video"].values, packed[-1].inputs["video"].values), "exact resume"


def test_other_programs_read_the_tars(root):
    shards = sorted((root / "labels").glob("*.tar"))
    assert [shard.name for shard in shards] == [f"train-0000{n}.tar" for n in range(3)]
    with tarfile.open(shards[0]) as tar:
        assert tar.getnames()[:4] == ["00000000.mp4", "00000000.wav", "00000000.txt", "00000000.json"]
        assert tar.extractfile("00000001.txt").read() == b"clip number 1"
        loose = root / "toy/toy_video_seg24s/main/0001.wav"
        assert tar.extractfile("00000001.wav").read() == loose.read_bytes()


def test_shards_at_an_address(root, tmp_path):
    fsspec = pytest.importorskip("fsspec")
    target = tmp_path / "there.shards"
    where = ("--out", str(target), "--address", "memory://bucket/set")
    assert main(["pack", "train.csv", "--root-dir", str(root), *where]) == 0
    with fsspec.open("memory://bucket/set/there-00000.tar", "wb") as file:
        file.write((tmp_path / "there-00000.tar").read_bytes())
    (tmp_path / "there-00000.tar").unlink()
    clip = formats.read(target, root)[3]
    loose = formats.read(root / "labels/train.csv", root)[3]
    assert torch.equal(load_video(clip.video_path, 9), load_video(loose.video_path, 9))
    assert torch.equal(load_audio(clip.audio_path, clip.video_path, 9), load_audio(loose.audio_path))


def copied(root, tmp_path, line=None):
    """Label file and shards to be damaged; `line` replaces columns of the first clip."""
    for path in (root / "labels").iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    labels = tmp_path / "train.shards"
    if line:
        first, rest = labels.read_text().split("\n", 1)
        columns = first.split("\t")
        for column, text in line.items():
            columns[column] = text
        labels.write_text("\t".join(columns) + "\n" + rest)
    return labels


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ({3: "../labels/train-00000.tar"}, "expected the name of a shard beside this file"),
        ({3: "filecache::https://example.org/a.tar"}, "expected the address of a shard"),
        ({3: "nowhere://bucket/a.tar"}, "nowhere://bucket/a.tar: cannot be opened"),
        ({3: "other.tar"}, "expected a shard at .*other.tar, found none"),
        ({5: "512"}, "expected offset,size in column 6, found '512'"),
        ({5: "-512,9"}, "expected offset,size in column 6"),
        ({5: "513,9"}, "expected the place of a file in a tar in column 6"),
        ({5: "512,99999999999"}, "expected the place of a file in a tar in column 6"),
        ({5: "512,999999"}, "train-00000.tar: found .* bytes, too few for 00000000.mp4"),
        ({5: "-"}, "expected a video, found none"),
        ({2: "0"}, "expected a positive number of video frames in column 3"),
        ({7: "1 x"}, "expected a positive number of video frames in column 8"),
        ({0: "toy/toy_video_seg24s/main/0001"}, "train.shards:2: .* is a duplicate clip, on line 1"),
    ],
)
def test_broken_lines(root, tmp_path, line, message):
    labels = copied(root, tmp_path, line)
    with pytest.raises(LabelError, match=message):
        formats.read(labels, root)


@pytest.mark.parametrize("line", [{5: "1024,99"}, {4: "00000001"}])
def test_a_place_that_holds_something_else(root, tmp_path, line):
    clip = formats.read(copied(root, tmp_path, line), root)[0]
    with pytest.raises(MediaError, match="pack the clips again"):
        load_video(clip.video_path, 8)


def test_a_shard_cut_short_after_it_was_checked(root, tmp_path):
    clip = formats.read(copied(root, tmp_path), root)[0]
    shard = Path(clip.video_path.shard)
    shard.write_bytes(shard.read_bytes()[:1500])
    with pytest.raises(MediaError, match="the shard is cut short"):
        load_video(clip.video_path, 8)


def test_packing_needs_a_new_name(root, capsys):
    assert main(["pack", "train.csv", "--root-dir", str(root)]) == 2
    assert "train.shards exists already; use --overwrite" in capsys.readouterr().err
