"""Cropping many videos: over processes, resumable, with a bar and a summary."""

from __future__ import annotations

import logging
import multiprocessing
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tqdm import tqdm

from datamodules.batch import VIDEO_FPS
from datamodules.media.headers import duration_seconds
from datamodules.media.sound import read_sound
from preparation.faces import detectors
from preparation.faces.crop import CropOptions, cut_mouths
from preparation.faces.crop_files import DataSet, Record, clip_names
from preparation.faces.detectors import Detector, DetectorOptions
from preparation.faces.sources import Source
from preparation.pool import TICK_S, in_processes
from preparation.resuming import stamp

log = logging.getLogger(__name__)

LOG_SECONDS = 30.0
"""Between two states of the bar where nobody watches: in a file."""


@dataclass(frozen=True)
class BatchOptions:
    """How videos become clips, and where these go."""

    root_dir: Path
    dataset: str
    crop: CropOptions = field(default_factory=CropOptions)
    detector: DetectorOptions = field(default_factory=DetectorOptions)
    num_workers: int = 1
    sheets: bool = False
    redo: bool = False

    @property
    def data_set(self) -> DataSet:
        return DataSet(self.root_dir, self.dataset)

    def settings(self) -> dict[str, Any]:
        """What a clip depends on beside its video, as JSON gives it back."""
        detector = {"name": self.detector.name, **self.detector.own}
        named = {key: value and str(value) for key, value in detector.items()}
        return {"crop": asdict(self.crop), "detector": named, "sheets": self.sheets}


@dataclass
class Outcome:
    """What became of all videos."""

    done: list[tuple[Source, Record]] = field(default_factory=list)
    """Cropped now."""
    kept: list[tuple[Source, Record]] = field(default_factory=list)
    """Cropped by an earlier run."""
    failed: list[tuple[Source, str]] = field(default_factory=list)
    """Programs at fault, not videos: tried again by the next run."""
    wall_seconds: float = 0.0

    @property
    def video_seconds(self) -> float:
        """Of the videos that were cropped now."""
        return sum(record.num_frames for _, record in self.done) / VIDEO_FPS


def crop_all(sources: Sequence[Source], options: BatchOptions) -> Outcome:
    """Crop the videos that an earlier run has not cropped with the same settings.

    Raises:
        ValueError: clips would be written over videos, a name cannot be part of a label file, or the detector
            cannot be used.
        OSError: the clips cannot be written.
    """
    _check_places(sources, options)
    outcome, settings = Outcome(), options.settings()
    waiting = []
    for source in sources:
        record = None if options.redo else options.data_set.done(source, settings)
        if record is None:
            waiting.append(source)
        else:
            outcome.kept.append((source, record))
    start = time.monotonic()
    with _Bar(waiting) as bar:
        for source, result in _results(waiting, _taken_names(sources), options, bar.show):
            bar.finished()
            if isinstance(result, Record):
                outcome.done.append((source, result))
            else:
                outcome.failed.append((source, result))
    outcome.wall_seconds = time.monotonic() - start
    for group in (outcome.done, outcome.failed):
        group.sort(key=lambda pair: pair[0].stem)
    return outcome


class _Bar:
    """Seconds of video, of all there are, and how many videos are done."""

    FORMAT = (
        "{desc}{percentage:3.0f}%|{bar}| {n:.0f}/{total:.0f} s of video "
        "[{elapsed}<{remaining}, {rate_noinv_fmt}]"
    )

    def __init__(self, sources: Sequence[Source]) -> None:
        total = sum(duration_seconds(source.path) or 0.0 for source in sources)
        self._done, self._number = 0, len(sources)
        self._live = sys.stderr.isatty()
        self._bar = tqdm(
            desc=f"0/{len(sources)} videos ",
            total=total or 1.0,
            unit="s",
            bar_format=self.FORMAT,
            disable=not sources,
            mininterval=TICK_S if self._live else LOG_SECONDS,
        )

    def __enter__(self) -> _Bar:
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def show(self, seconds: float) -> None:
        """`seconds` of video have been dealt with so far."""
        self._bar.total = max(self._bar.total, seconds)
        self._bar.update(seconds - self._bar.n)

    def finished(self) -> None:
        """Another video."""
        self._done += 1
        self._bar.set_description_str(f"{self._done}/{self._number} videos ", refresh=self._live)


def _check_places(sources: Sequence[Source], options: BatchOptions) -> None:
    if not options.dataset or set(options.dataset) & set(",/\\\n") or options.dataset.startswith("."):
        raise ValueError(
            f"found --dataset {options.dataset!r}, expected a folder's name without commas and slashes"
        )
    folder = options.data_set.folder.resolve()
    for source in sources:
        if source.path.resolve().is_relative_to(folder):
            raise ValueError(
                f"{source.path} lies in {folder}, where the clips go: they would replace the videos; "
                "expected another --root-dir or --dataset"
            )
        if set(str(source.rel_path)) & set(",\n"):
            raise ValueError(
                f"{source.path}: its path has a comma or a line end, which label files cannot hold; rename it"
            )


def _taken_names(sources: Sequence[Source]) -> dict[Path, set[Path]]:
    """For each video the names that numbered clips of it must not take: those of other videos."""
    stems = {source.stem for source in sources}
    taken: dict[Path, set[Path]] = {}
    for stem in stems:
        head, _, number = stem.name.rpartition("_")
        if number.isdecimal() and head and stem.with_name(head) in stems:
            taken.setdefault(stem.with_name(head), set()).add(stem)
    return taken


Taken = Mapping[Path, set[Path]]
Results = Iterator[tuple[Source, Record | str]]
"""Each video with its record, or with what went wrong; in any order."""


def _results(
    sources: Sequence[Source], taken: Taken, options: BatchOptions, show: Callable[[float], None]
) -> Results:
    """`show` is told the seconds of video that have been dealt with so far."""
    if not sources:
        return iter(())
    one = options.num_workers <= 1 or len(sources) == 1
    return (_results_here if one else _results_of_workers)(sources, taken, options, show)


def _results_here(
    sources: Sequence[Source], taken: Taken, options: BatchOptions, show: Callable[[float], None]
) -> Results:
    total = 0.0

    def progress(seconds: float) -> None:
        nonlocal total
        total += seconds
        show(total)

    worker = _Worker(options, progress)
    for source in sources:
        yield source, worker(source, taken.get(source.stem, set()))


def _results_of_workers(
    sources: Sequence[Source], taken: Taken, options: BatchOptions, show: Callable[[float], None]
) -> Results:
    seconds = multiprocessing.get_context("spawn").Value("d", 0.0)
    tasks = [(source, taken.get(source.stem, set())) for source in sources]
    yield from in_processes(
        _work,
        tasks,
        min(options.num_workers, len(sources)),
        begin=_start_worker,
        begin_with=(options, seconds),
        tick=lambda: show(seconds.value),
    )


class _Worker:
    """Crops one video after the other with one detector."""

    def __init__(self, options: BatchOptions, progress: Callable[[float], None]) -> None:
        self._options = options
        self._settings = options.settings()
        self._progress = progress
        self._detector: Detector = detectors.build(options.detector)

    def __call__(self, source: Source, taken: set[Path]) -> Record | str:
        data_set = self._options.data_set
        self._told = 0.0
        try:
            return self._crop(source, taken)
        except OSError:
            raise
        except ValueError as error:
            earlier = data_set.record(source)
            if earlier is not None and earlier.clips:
                return f"{_reason(error, source)}; the clips of an earlier run stay"
            data_set.clear(source)
            record = Record(
                str(source.path.absolute()),
                stamp(source.path),
                self._settings,
                [],
                [_reason(error, source)],
                0,
                0,
            )
            data_set.write_record(source, record)
            return record
        except Exception as error:  # one video must not end a night's work
            log.debug("%s", source.path, exc_info=True)
            return f"{type(error).__name__}: {error}"
        finally:
            # What a video that broke off has left.
            self._tell(max(0.0, (duration_seconds(source.path) or 0.0) - self._told))

    def _tell(self, seconds: float) -> None:
        self._told += seconds
        self._progress(seconds)

    def _crop(self, source: Source, taken: set[Path]) -> Record:
        result = cut_mouths(source.path, self._detector, self._options.crop, source.rel_path, self._tell)
        for name in clip_names(source.stem, len(result.tracks)):
            if name in taken:
                raise ValueError(f"its clip {name.name} would have the name of another video's; rename one")
        earlier = self._options.data_set.record(source)
        if not result.tracks and earlier is not None and earlier.stamp == stamp(source.path):
            # Of the same video: the settings are to blame.
            raise ValueError("; ".join(map(str, result.rejected)) or "no mouth")
        sound = read_sound(source.path) if result.tracks else None
        self._options.data_set.clear(source)
        return self._options.data_set.write(source, result, sound, self._settings, self._options.sheets)


def _reason(error: ValueError, source: Source) -> str:
    """Without the path, which the summary says anyway."""
    return str(error).removeprefix(f"{source.path}: ")


_worker: _Worker | None = None
"""Of this process, where it is a worker."""


def _start_worker(options: BatchOptions, seconds: Any) -> None:
    def progress(done: float) -> None:
        with seconds.get_lock():
            seconds.value += done

    global _worker
    _worker = _Worker(options, progress)


def _work(task: tuple[Source, set[Path]]) -> tuple[Source, Record | str]:
    assert _worker is not None
    return task[0], _worker(*task)
