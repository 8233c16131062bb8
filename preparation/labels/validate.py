"""Looks for what training would choke on in prepared data sets: all of it, not the first."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from datamodules import formats
from datamodules.batch import VIDEO_FPS, Utterance
from datamodules.formats._checks import Kind, LabelError
from preparation.labels import files as label_files
from preparation.labels.validate_media import MediaChecks, check_clip
from preparation.pool import unordered_map

MISSING, EMPTY_TEXT, DUPLICATE, BROKEN_LINE = (
    kind.value for kind in (Kind.MISSING_MEDIA, Kind.EMPTY_TEXT, Kind.DUPLICATE, Kind.BROKEN)
)
OVERLAP = "clip also in another label file"
BROKEN_FILE = "unreadable file"
TOO_FAST = "text too long for its clip"
SAME_TEXT = "text also in another label file"

CLIPS_PER_WORKER = 100
"""Fewer are read sooner than another process has begun."""
MAX_LETTERS_PER_SECOND = 40
"""Fast speakers say some 20."""


@dataclass(frozen=True)
class Problem:
    """Something wrong with one line of a label file; line 0 is the file as a whole.

    A warning is worth a look, and no reason to stop.
    """

    kind: str
    path: Path
    line: int
    detail: str
    is_warning: bool = False


@dataclass
class Checked:
    """A label file: the clips that can be used so far, and what is wrong."""

    path: Path
    num_clips: int
    utterances: list[Utterance]
    problems: list[Problem] = field(default_factory=list)

    @property
    def broken_lines(self) -> set[int]:
        return {problem.line for problem in self.problems if not problem.is_warning}

    @property
    def good(self) -> list[Utterance]:
        """The clips with which nothing is wrong."""
        broken = self.broken_lines
        return [utterance for utterance in self.utterances if utterance.position[1] not in broken]


def validate(
    paths: Sequence[Path],
    root_dir: Path,
    checks: MediaChecks,
    num_workers: int | None = None,
    path_prefix: Sequence[str] = (),
    show_progress: bool = True,
) -> list[Checked]:
    """Check label files, in the order given; media in parallel. path_prefix: `OLD=NEW`, for manifests."""
    files = [load(path, root_dir, checks.media, path_prefix) for path in dict.fromkeys(paths)]
    for file in files:
        file.problems += _text_problems(file) + _duplicates(file)
    _check_media(files, checks, num_workers, show_progress)
    for index, file in enumerate(files):
        for other in files[index + 1 :]:
            file.problems += _overlap(file, other)
    for file in files:
        file.problems.sort(key=lambda problem: (problem.line, problem.kind))
    return files


def load(path: Path, root_dir: Path, media: Sequence[str], path_prefix: Sequence[str] = ()) -> Checked:
    """Read a label file of any format, leaving out what it refuses until it refuses nothing."""
    try:
        lines = label_files.clip_lines(path)
    except OSError as error:
        return Checked(path, 0, [], [Problem(BROKEN_FILE, path, 0, f"{path}: {error.strerror}")])
    checked = Checked(path, len(lines), [])
    left_out: set[int] = set()
    with TemporaryDirectory() as folder:
        current = path
        while True:
            kept = [line for line in lines if line not in left_out]
            try:
                found = formats.read(current, root_dir, media, {"avhubert-tsv": {"path_prefix": path_prefix}})
            except LabelError as error:
                problems = _first_of_all(_problems_of(error, path, kept))
                checked.problems += problems
                refused = {problem.line for problem in problems}
                if 0 in refused or len(kept) == len(refused):
                    return checked
                left_out |= refused
                current = Path(folder, path.name)
                label_files.copy(path, current, left_out)
                continue
            break
    header = label_files.num_header_lines(path)
    checked.utterances = [
        replace(utterance, source=f"{path}:{kept[utterance.position[1] - header - 1]}") for utterance in found
    ]
    return checked


def _problems_of(error: LabelError, path: Path, kept: Sequence[int]) -> list[Problem]:
    """Those of a reader, with the lines of the file it was copied from; `kept` are that copy's clips."""
    if not error.problems:
        return [Problem(BROKEN_FILE, path, 0, str(error).split("\n")[0])]
    header = label_files.num_header_lines(error.path)
    found = []
    for problem in error.problems:
        index = problem.line - header - 1
        line = kept[index] if 0 <= index < len(kept) else 0
        # Without the line of the first, if it is a duplicate: that is a line of the copy.
        found.append(Problem(problem.kind.value if line else BROKEN_FILE, path, line, problem.reason))
    return found


def _first_of_all(problems: list[Problem]) -> list[Problem]:
    """Those to leave out first: a clip is there twice only if the other line is one that can be used."""
    return [problem for problem in problems if problem.kind != DUPLICATE] or problems


def _check_media(
    files: Sequence[Checked], checks: MediaChecks, num_workers: int | None, show_progress: bool
) -> None:
    tasks = [(index, utterance) for index, file in enumerate(files) for utterance in file.utterances]
    check = partial(_check_task, checks=checks)
    found = unordered_map(
        check,
        tasks,
        num_workers,
        show_progress=show_progress,
        description="reading media",
        unit="clip",
        tasks_per_worker=CLIPS_PER_WORKER,
    )
    for index, line, problems in found:
        file = files[index]
        file.problems += [Problem(kind, file.path, line, detail) for kind, detail in problems]


def _check_task(task: tuple[int, Utterance], checks: MediaChecks) -> tuple[int, int, list[tuple[str, str]]]:
    index, utterance = task
    return index, utterance.position[1], check_clip(utterance, checks)


def _text_problems(file: Checked) -> list[Problem]:
    problems = []
    for utterance in file.utterances:
        seconds = utterance.num_frames / VIDEO_FPS
        if not utterance.text.strip():
            problems.append(_problem(EMPTY_TEXT, file, utterance, utterance.id))
        elif len(utterance.text) > MAX_LETTERS_PER_SECOND * max(seconds, 1):
            detail = f"{utterance.id}: {len(utterance.text)} characters in {seconds:.1f} s"
            problems.append(_problem(TOO_FAST, file, utterance, detail, is_warning=True))
    return problems


def _duplicates(file: Checked) -> list[Problem]:
    """Clips of the same video and languages: one may be translated into several, and be there for each."""
    first: dict[tuple[str, tuple[str, str]], Utterance] = {}
    problems = []
    for utterance in file.utterances:
        known = first.setdefault((_video_key(utterance), utterance.languages), utterance)
        if known is not utterance:
            detail = f"{utterance.id}: as on line {known.position[1]}"
            problems.append(_problem(DUPLICATE, file, utterance, detail))
    return problems


def _overlap(file: Checked, other: Checked) -> list[Problem]:
    """Clips of `file` that `other` has too, by id or video, and texts that both have."""
    videos = {_video_key(utterance): utterance for utterance in other.utterances}
    ids = {utterance.id: utterance for utterance in other.utterances}
    texts = _by_text(other.utterances)
    problems = []
    for utterance in file.utterances:
        same = videos.get(_video_key(utterance)) or ids.get(utterance.id)
        if same is not None:
            detail = f"{utterance.id}: {other.path.name}, line {same.position[1]}"
            problems.append(_problem(OVERLAP, file, utterance, detail))
        elif alike := texts.get(_plain(utterance.text)):
            detail = f"{utterance.text!r}: {other.path.name}, line {alike[0].position[1]}"
            problems.append(_problem(SAME_TEXT, file, utterance, detail, is_warning=True))
    return problems


def _by_text(utterances: Iterable[Utterance]) -> dict[str, list[Utterance]]:
    found = defaultdict(list)
    for utterance in utterances:
        found[_plain(utterance.text)].append(utterance)
    return found


def _plain(text: str) -> str:
    return " ".join(text.lower().split())


def _video_key(utterance: Utterance) -> str:
    return os.path.normpath(utterance.video_path)


def _problem(
    kind: str, file: Checked, utterance: Utterance, detail: str, is_warning: bool = False
) -> Problem:
    return Problem(kind, file.path, utterance.position[1], detail, is_warning)


def write_clean(files: Sequence[Checked], target: Path) -> list[Path]:
    """Write each file without its broken lines: to `target`, or, if they are several, into that folder.

    A clip that several files have stays in the last of them.

    Raises:
        ValueError: nothing would be left of a file, one cannot be read at all, or it would be overwritten.
    """
    targets = [target] if len(files) == 1 else [target / file.path.name for file in files]
    if len(set(targets)) < len(targets):
        raise ValueError(f"--fix {target}: expected label files of different names")
    for file, clean in zip(files, targets, strict=True):
        if not file.good:
            raise ValueError(f"--fix: no clip of {file.path} is without a problem; nothing was written")
        if clean.resolve() == file.path.resolve():
            raise ValueError(f"--fix {clean}: expected another name than that of the file it is made of")
        if clean.suffix != file.path.suffix:
            raise ValueError(f"--fix {clean}: expected a name that ends in {file.path.suffix}")
    written = []
    for file, clean in zip(files, targets, strict=True):
        written += label_files.copy(file.path, clean, file.broken_lines)
    return written
