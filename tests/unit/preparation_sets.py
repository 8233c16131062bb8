"""Small data sets laid out as their publishers do, with videos of moving bars and tones."""

from __future__ import annotations

from pathlib import Path

import pytest

import prepare_data
from preparation.datasets import clips
from tests.unit.media_files import moving_bar, tone, write_video, write_wav

SIDE = 96


def write_source_video(path: Path, num_frames: int, seed: int = 0, sound: bool = True, fps: int = 25) -> Path:
    """A mouth-sized video at `fps`, with a tone as its sound track."""
    samples = 16_000 * num_frames // fps
    waveform = tone(samples, 200 + 20 * seed) if sound else None
    return write_video(path, moving_bar(num_frames, SIDE, seed), fps=fps, waveform=waveform)


def lrs_text(text: str, words: list[tuple[str, float, float]] | None = None) -> str:
    """A .txt as LRS2 and LRS3 have it; `words` (WORD, start and end in seconds) adds the alignment."""
    lines = [f"Text:  {text}", "Conf:  3"]
    if words is not None:
        lines += ["", "WORD START END ASDSCORE"]
        lines += [f"{word} {start:.2f} {end:.2f} 4.1" for word, start, end in words]
    return "\n".join(lines) + "\n"


def write_lrs_clip(
    stem: Path, num_frames: int, text: str, words: list[tuple[str, float, float]] | None = None, seed: int = 0
) -> None:
    write_source_video(stem.with_suffix(".mp4"), num_frames, seed)
    stem.with_suffix(".txt").write_text(lrs_text(text, words))


PRETRAIN_WORDS = [
    ("SO", 0.1, 0.3),
    ("THIS", 0.3, 0.6),
    ("IS", 1.1, 1.3),
    ("IT", 1.3, 1.6),
    ("{LG}", 1.7, 1.9),
]
"""With a pause from 0.6 to 1.1 s, whose middle is frame 21."""


def write_lrs3(source: Path) -> Path:
    """One video in `pretrain` (50 frames), two in `trainval` and one in `test`."""
    write_lrs_clip(source / "pretrain/idA/00001", 50, "SO THIS IS IT {LG}", PRETRAIN_WORDS)
    write_lrs_clip(source / "trainval/idB/50001", 20, "BUT {NS} HOW, AND {WHY}", seed=1)
    write_lrs_clip(source / "trainval/idB/50002", 30, "IT'S FINE", seed=2)
    write_lrs_clip(source / "test/idC/00002", 25, "I HAVE TO SAY", seed=3)
    return source


def write_lrs2(source: Path) -> Path:
    """`mvlrs_v1` with one video in `pretrain` and four in `main`, of which the lists name three."""
    base = source / "mvlrs_v1"
    write_lrs_clip(base / "pretrain/1/00001", 50, "SO THIS IS IT", PRETRAIN_WORDS)
    for number, text in enumerate(["ONE", "TWO", "THREE", "IN NO LIST"]):
        write_lrs_clip(base / f"main/7/0000{number}", 20 + number, text, seed=number)
    (source / "train.txt").write_text("7/00000\n")
    (source / "val.txt").write_text("7/00001\n")
    (source / "test.txt").write_text("7/00002 NF MV\n")
    return source


def write_vox2(source: Path) -> Path:
    """A video of 60 frames with its sound in another file, and one of 20 with its own."""
    long, short = source / "dev/mp4/id1/vid/00001.mp4", source / "dev/mp4/id1/vid/00002.mp4"
    write_source_video(long, 60, sound=False)
    write_wav(source / "dev/wav/id1/vid/00001.wav", tone(60 * 640))
    write_source_video(short, 20, seed=1)
    return source


CUES = """1
00:00:00,200 --> 00:00:01,000
Good morning, everybody!

2
00:00:01,000 --> 00:00:01,800
[applause]

3
00:00:01,800 --> 00:00:02,400
It's 5 o'clock.
"""


def write_folder(source: Path) -> Path:
    """Videos with subtitles (63 frames), with a text, at 30 fps to test on, and without a text."""
    write_source_video(source / "talk, one.mp4", 63)
    (source / "talk, one.en.srt").write_text(CUES)
    write_source_video(source / "more" / "b.mp4", 20, seed=1)
    (source / "more" / "b.txt").write_text("Well, that's it.\n")
    write_source_video(source / "test" / "c.mp4", 30, seed=2, fps=30)
    (source / "test" / "c.txt").write_text("The end")
    write_source_video(source / "silent film.mp4", 20, seed=3, sound=False)
    return source


def run_command(command: str, source: Path, root: Path, *flags: object, seg_seconds=2, workers=1) -> int:
    """The exit status of prepare_data.py on videos that are mouths already."""
    arguments = [command, "--source-dir", source, "--root-dir", root, "--seg-seconds", seg_seconds]
    arguments += ["--already-cropped", "--num-workers", workers, *flags]
    return prepare_data.main([str(argument) for argument in arguments])


def label_lines(root: Path, name: str) -> list[str]:
    return (root / "labels" / name).read_text().splitlines()


def file_names(root: Path, pattern: str = "**/*") -> list[str]:
    return sorted(str(path.relative_to(root)) for path in root.glob(pattern) if path.is_file())


def count_made(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A list that grows by the name of each item whose clips are made."""
    made = []
    make = clips._make

    def counting(item, *rest):
        made.append(item.name)
        return make(item, *rest)

    monkeypatch.setattr(clips, "_make", counting)
    return made
