"""Clips in tar shards against loose files, read in the order of an epoch, from a cold and a warm cache.

    python -m benchmarks.shards --root-dir ROOT --labels train.csv [--num-clips 500]

Cold: the system is asked to forget the bytes of all files before (posix_fadvise); it still knows their names,
which on a network disk cost more than here. Only reading is timed; what is decoded afterwards is the same.
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
import tempfile
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from benchmarks.alternating import machine, save, table
from datamodules import formats
from datamodules.batch import Utterance
from datamodules.media.packed import content
from preparation.labels.pack import pack


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--root-dir", type=Path, required=True)
    parser.add_argument("--labels", required=True)
    parser.add_argument("--num-clips", type=int, default=500)
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--hardware", help="a word for this machine: writes the result to benchmarks/results")
    asked = parser.parse_args()
    loose = formats.read(formats.find(asked.labels, asked.root_dir), asked.root_dir)[: asked.num_clips]
    with tempfile.TemporaryDirectory(dir=asked.root_dir) as folder:
        packing = pack(loose, Path(folder, "packed.shards"), ("audio", "video"), 1000)
        packed = formats.read(packing.label_file, asked.root_dir)
        files = {
            "loose files": [path for clip in loose for path in (clip.video_path, clip.audio_path)],
            "shards": packing.shards,
        }
        sides = {"loose files": loose, "shards": packed}
        order = random.Random(0).sample(range(len(loose)), len(loose))
        times: dict[tuple[str, str], list[float]] = {}
        size = 0
        for _ in range(asked.repetitions):
            for side, clips in sides.items():
                forget(files[side])
                for cache in ("cold", "warm"):
                    seconds, size = read(clips, order)
                    times.setdefault((side, cache), []).append(seconds / len(order))
    rows = [
        [side, cache, *(f"{1e3 * x:.3f}" for x in (statistics.median(found), min(found), max(found)))]
        for (side, cache), found in times.items()
    ]
    text = (
        f"{len(order)} clips of {size / len(order) / 1e3:.0f} kB, {asked.repetitions} repetitions in turns\n"
        f"{machine()}\n\n" + table(["", "cache", "wall ms a clip", "least", "most"], rows)
    )
    save("shards", asked.hardware, text)


def read(clips: Sequence[Utterance], order: Sequence[int]) -> tuple[float, int]:
    """Seconds, and bytes read."""
    start, size = time.perf_counter(), 0
    for place in order:
        clip = clips[place]
        size += len(content(clip.video_path)) + len(content(clip.audio_path))
    return time.perf_counter() - start, size


def forget(paths: Iterable[Path]) -> None:
    for path in paths:
        with path.open("rb") as file:
            os.fdatasync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


if __name__ == "__main__":
    main()
