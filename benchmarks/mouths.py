"""Mouths cut out of raw video: CPU time by part, and how far from where detection in every frame puts them.

    python -m benchmarks.mouths GRID/s1 GRID/s26
    python -m benchmarks.mouths GRID/s1 --size 1280x720 --clips 4
    python -m benchmarks.mouths carphone.mp4 --detect-every 8

--size: the videos are first scaled to that size, with a camera's noise.
"""

from __future__ import annotations

import argparse
import contextlib
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import cv2
import numpy as np
import torch

from benchmarks.alternating import machine, save, table
from datamodules.batch import VIDEO_FPS
from datamodules.media.sound import read_sound
from datamodules.media.writing import Encoding, write_video
from preparation.faces import detectors, finding, mouth, video
from preparation.faces.crop import CropResult, cut_mouths
from preparation.faces.crop_files import DataSet
from preparation.faces.detectors import Detector, DetectorOptions
from preparation.faces.options import DEFAULT_DETECTOR, CropOptions
from preparation.faces.sources import Source, find_sources
from preparation.faces.views import View

NOISE = 1.0
"""Grey levels, standard deviation."""
CAMERA = Encoding(crf=23)
PARTS = ("decode", "detect", "follow", "place", "cut", "write", "all else")


class Clock:
    """CPU seconds by part; what runs inside another part counts for itself alone."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self._inside = 0.0

    @contextlib.contextmanager
    def part(self, name: str) -> Iterator[None]:
        outside, self._inside = self._inside, 0.0
        start = time.process_time()
        try:
            yield
        finally:
            spent = time.process_time() - start
            self.seconds[name] += spent - self._inside
            self._inside = outside + spent

    def timed(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **others: Any) -> Any:
            with self.part(name):
                return function(*args, **others)

        return call

    def timed_items(self, name: str, function: Callable[..., Iterable[Any]]) -> Callable[..., Iterator[Any]]:
        def items(*args: Any, **others: Any) -> Iterator[Any]:
            take = self.timed(name, iter(function(*args, **others)).__next__)
            with contextlib.suppress(StopIteration):
                while True:
                    yield take()

        return items


class Way:
    """Mouths by a detector that is shown every so many frames."""

    def __init__(self, detector: Detector, every: int, folder: Path) -> None:
        self.name = "every frame" if every == 1 else f"every {every} frames"
        self._options = CropOptions(detect_every=every)
        self._detector, self._data_set = detector, DataSet(folder, f"every_{every}")
        self._clock = Clock()
        self._num_frames = self._num_shown = 0

    def __call__(self, source: Source) -> CropResult:
        clock, detect = self._clock, self._detector.detect

        def counted(frames: np.ndarray) -> Any:
            self._num_shown += len(frames)
            return detect(frames)

        with (
            mock.patch.object(self._detector, "detect", clock.timed("detect", counted)),
            mock.patch.object(video, "views", clock.timed_items("decode", video.views)),
            mock.patch.object(finding, "followed", clock.timed("follow", finding.followed)),
            mock.patch.object(mouth, "placed", clock.timed("place", mouth.placed)),
            mock.patch.object(View, "cut", clock.timed("cut", View.cut)),
        ):
            with clock.part("all else"):
                result = cut_mouths(source.path, self._detector, self._options)
            with clock.part("write"):
                self._data_set.write(source, result, read_sound(source.path), {})
        self._num_frames += result.num_frames
        return result

    def row(self) -> list[str]:
        """Share of frames shown, CPU ms a frame by part and in all, seconds of video a CPU second."""
        ms = [1000 * self._clock.seconds[part] / self._num_frames for part in PARTS]
        numbers = (self._num_shown / self._num_frames, *ms, sum(ms), 1000 / VIDEO_FPS / sum(ms))
        return [self.name, *(f"{number:.2f}" for number in numbers)]


class Distances:
    """How far mouths lie from where they should, in every frame that both have."""

    def __init__(self) -> None:
        self._picture: list[np.ndarray] = []
        self._crop: list[np.ndarray] = []
        self._num_expected = 0

    def add(self, expected: CropResult, found: CropResult) -> None:
        self._num_expected += sum(len(track.frames) for track in expected.tracks)
        for one in expected.tracks:
            for other in found.tracks:
                first = max(one.first, other.first)
                num = min(one.first + len(one.frames), other.first + len(other.frames)) - first
                if num > 0:
                    of_one = slice(first - one.first, first - one.first + num)
                    of_other = slice(first - other.first, first - other.first + num)
                    self._picture.append(_apart(one.centres[of_one], other.centres[of_other]))
                    middles = one.corners[of_one].mean(axis=1), other.corners[of_other].mean(axis=1)
                    sides = _apart(one.corners[of_one, 0], one.corners[of_one, 1])
                    self._crop.append(_apart(*middles) * mouth.CROP_SIDE / sides)

    def rows(self) -> list[list[str]]:
        rows = []
        for name, parts in (
            ("mouth, in the picture", self._picture),
            ("crop's middle, in the crop", self._crop),
        ):
            values = np.concatenate(parts)
            numbers = (np.median(values), np.percentile(values, 95), values.max())
            rows.append(
                [name, *(f"{number:.2f}" for number in numbers), f"{len(values)}/{self._num_expected}"]
            )
        return rows


def _apart(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.linalg.norm(a - b, axis=-1)


def scaled(source: Source, width: int, height: int, folder: Path) -> Source:
    """Scaled to cover that size, the middle of it kept, with noise."""
    rng = np.random.default_rng(0)
    noise = rng.normal(0, NOISE, (height + 32, width + 32, 1))

    def frames() -> Iterator[np.ndarray]:
        for view in video.views(source.path):
            picture = view.rgb()
            factor = max(width / picture.shape[1], height / picture.shape[0])
            large = cv2.resize(picture, None, fx=factor, fy=factor, interpolation=cv2.INTER_CUBIC)
            top, left = (large.shape[0] - height) // 2, (large.shape[1] - width) // 2
            y, x = rng.integers(0, 32, 2)
            noisy = large[top : top + height, left : left + width] + noise[y : y + height, x : x + width]
            yield noisy.clip(0, 255).astype(np.uint8)

    path = folder / source.rel_path.with_suffix(".mp4")
    path.parent.mkdir(parents=True, exist_ok=True)
    write_video(path, frames(), CAMERA, waveform=read_sound(source.path))
    return Source(path, source.rel_path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("videos", type=Path, nargs="+", help="videos, or folders of them")
    parser.add_argument("--clips", type=int, default=12, help="at most so many, from all over each folder")
    parser.add_argument("--size", help="WIDTHxHEIGHT to scale the videos to")
    parser.add_argument("--detector", default=DEFAULT_DETECTOR)
    parser.add_argument("--detect-every", type=int, default=CropOptions.detect_every)
    parser.add_argument("--save", metavar="HARDWARE", help="write the result file, named for this machine")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    sources = []
    for place in asked.videos:
        all_there = find_sources([place])
        wanted = np.unique(np.linspace(0, len(all_there) - 1, asked.clips).astype(int))
        sources += [all_there[index] for index in wanted]
    detector, distances = detectors.build(DetectorOptions(asked.detector)), Distances()
    with tempfile.TemporaryDirectory() as folder:
        if asked.size:
            width, height = map(int, asked.size.split("x"))
            sources = [scaled(source, width, height, Path(folder, "scaled")) for source in sources]
        ways = [Way(detector, every, Path(folder)) for every in (1, asked.detect_every)]
        Way(detector, 1, Path(folder))(sources[0])  # sets everything up
        for number, source in enumerate(sources):
            turn = -1 if number % 2 else 1
            distances.add(*[way(source) for way in ways[::turn]][::turn])
    header = ["detector is shown", "share of frames", *PARTS, "CPU ms a frame", "x real time a core"]
    places = ", ".join(f"{place.parent.name}/{place.name}" for place in asked.videos)
    size = f", scaled to {asked.size}" if asked.size else ""
    text = "\n\n".join(
        [
            f"# Mouths: {len(sources)} videos of {places}{size}, by {asked.detector}",
            machine(),
            table(header, [way.row() for way in ways]),
            "How far mouths lie from where detection in every frame puts them, in pixels:",
            table(["", "median", "95 %", "most", "frames compared"], distances.rows()),
        ]
    )
    save("mouths", asked.save, text)


if __name__ == "__main__":
    main()
