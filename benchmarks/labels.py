"""A large label file, ours against an object a line: time and memory to read it, and what a worker adds.

    python -m benchmarks.labels [--lines 300000]

Both sides say of every line that its file is there. Memory is what the process has grown by (RSS), and what a
process that is forked off and looks at every clip has for itself.
"""

from __future__ import annotations

import argparse
import gc
import multiprocessing
import random
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.alternating import machine, save, table
from datamodules import formats
from datamodules.batch import Utterance

CLIPS_OF_A_TALKER = 60
WORDS = ("the", "people", "who", "working", "on", "this", "project", "and", "that", "is", "something")


@dataclass(frozen=True)
class Cost:
    """Of a line."""

    seconds: float
    bytes_: float
    seconds_of_access: float
    bytes_of_worker: float

    def row(self) -> list[str]:
        return [
            f"{1e6 * self.seconds:.1f}",
            f"{self.bytes_:.0f}",
            f"{1e6 * self.seconds_of_access:.1f}",
            f"{self.bytes_of_worker:.0f}",
        ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--lines", type=int, default=300_000)
    parser.add_argument("--hardware", help="a word for this machine: writes the result to benchmarks/results")
    asked = parser.parse_args()
    sides = {"an object a line": objects, "ours": ours}
    with tempfile.TemporaryDirectory() as folder:
        path = made(Path(folder), asked.lines)
        size = path.stat().st_size / asked.lines
        rows = [[side, *in_a_process(read, path, asked.lines).row()] for side, read in sides.items()]
    header = ["", "CPU us a line", "bytes a line", "us an access", "bytes a line in a worker"]
    text = f"{asked.lines} lines of {size:.0f} bytes\n{machine()}\n\n" + table(header, rows)
    save("labels", asked.hardware, text)


def made(root_dir: Path, num_lines: int) -> Path:
    """A label file as of LRS3, whose videos are there: empty files."""
    draw = random.Random(0)
    path = root_dir / "labels" / "made.csv"
    path.parent.mkdir()
    with path.open("w") as file:
        for number in range(num_lines):
            talker, clip = divmod(number, CLIPS_OF_A_TALKER)
            rel_path = Path(
                "lrs3_video_seg16s", "pretrain", f"{talker:08x}abc", f"{clip:05d}_{clip % 7:02d}.mp4"
            )
            video = root_dir / "lrs3" / rel_path
            if not clip:
                video.parent.mkdir(parents=True)
            video.touch()
            file.write(f"lrs3,{rel_path},{draw.randrange(30, 400)},0,{' '.join(draw.choices(WORDS, k=10))}\n")
    return path


def ours(path: Path) -> Sequence[Utterance]:
    return formats.read(path, path.parent.parent, ("video",))


def objects(path: Path) -> Sequence[Utterance]:
    clips = []
    for number, line in enumerate(path.read_text().splitlines(), start=1):
        dataset, rel_path, num_frames, _, text = line.split(",", 4)
        video = path.parent.parent / dataset / rel_path
        if not video.exists():
            raise ValueError(f"{path}:{number}: no {video}")
        clips.append(
            Utterance(
                id=f"{dataset}/{rel_path}",
                video_path=video,
                audio_path=video.with_suffix(".wav"),
                num_frames=int(num_frames),
                text=text,
                source=f"{path}:{number}",
            )
        )
    return clips


def in_a_process(read: Callable[[Path], Sequence[Utterance]], path: Path, num_lines: int) -> Cost:
    """One of its own, so that nobody's memory is another's."""
    fork = multiprocessing.get_context("fork")
    ours, theirs = fork.Pipe()
    process = fork.Process(target=_measure, args=(read, path, num_lines, theirs))
    process.start()
    cost = ours.recv()
    process.join()
    return cost


def _measure(read, path, num_lines, answer) -> None:
    gc.collect()
    memory, cpu = _resident(), time.process_time()
    clips = read(path)
    cpu = time.process_time() - cpu
    gc.collect()
    memory = _resident() - memory
    fork = multiprocessing.get_context("fork")
    ours, theirs = fork.Pipe()
    worker = fork.Process(target=_look, args=(clips, theirs))
    worker.start()
    access, private = ours.recv()
    worker.join()
    answer.send(Cost(cpu / num_lines, memory / num_lines, access / num_lines, private / num_lines))


def _look(clips: Sequence[Utterance], answer) -> None:
    private, cpu = _private(), time.process_time()
    for place in range(len(clips)):
        assert clips[place].num_frames
    answer.send((time.process_time() - cpu, _private() - private))


def _resident() -> int:
    return _kilobytes("Rss") * 1024


def _private() -> int:
    return _kilobytes("Private_Dirty") * 1024


def _kilobytes(name: str) -> int:
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))


if __name__ == "__main__":
    main()
