"""From one label format to the other: every line is checked first, then everything is written, or nothing."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

from tqdm import tqdm

from datamodules import formats
from datamodules.batch import SAMPLES_PER_VIDEO_FRAME, Utterance
from datamodules.formats import avhubert_tsv
from datamodules.formats._checks import Kind, LabelError, Problem, missing_media, read_lines
from datamodules.formats._prefixes import fits, parse
from datamodules.media import MediaError
from datamodules.media.headers import frames_problem, num_audio_samples, num_video_frames, sound_problem
from preparation.labels.contents import Problems, csv_contents, tsv_contents
from preparation.labels.files import group_of, write_all

SUFFIXES = (".csv", ".tsv")
NUM_READERS = 16
"""Headers read at a time: mostly waiting for the disk."""
Languages = tuple[str, str]


@dataclass(frozen=True, kw_only=True)
class Choices:
    """What is converted, and how strictly it is checked."""

    languages: tuple[Languages, ...] = ()
    """(spoken, written) pairs: of a .tsv those to keep, of a .csv what all its clips are."""
    path_prefix: tuple[str, ...] = ()
    """(old, new) beginnings of the paths in a .tsv."""
    cluster_counts: Path | None = None
    """Runs of units, a line for each clip of the source."""
    media: tuple[str, ...] = ("audio", "video")
    """Which must exist; () looks at no file."""
    check_frames: bool = False
    """Compare lengths with the headers of the media."""
    allow_empty: bool = False
    min_frames: int | None = None
    max_frames: int | None = None
    overwrite: bool = False


@dataclass(frozen=True, kw_only=True)
class Conversion:
    """What was done."""

    files: list[Path]
    num_clips: int
    left_out: list[str] = field(default_factory=list)
    """Clips that were not wanted, counted."""
    losses: list[str] = field(default_factory=list)
    """What the source holds and the target's format cannot."""
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class _Headers:
    """What the files of a clip say."""

    num_samples: int | None = None
    in_video: bool = False
    """The sound is the video's own track."""
    problems: tuple[str, ...] = ()


def convert(source: Path, target: Path, root_dir: Path, choices: Choices) -> Conversion:
    """Write the clips of the label file `source` to `target`; the suffixes say which format each is in.

    Raises:
        LabelError: lines that cannot be used, or that the target's format cannot hold.
        ValueError: what was asked for does not go together, or the target already exists.
    """
    source = source if source.is_file() else formats.find(source, root_dir)
    _check_choices(source, target, choices)
    utterances = formats.read(source, root_dir, (), {"avhubert-tsv": {"path_prefix": choices.path_prefix}})
    _check_prefixes(source, [parse(text) for text in choices.path_prefix])
    if choices.cluster_counts is not None:
        utterances = _with_counts(utterances, choices.cluster_counts)
    kept, left_out = _select(source, target, utterances, choices)
    headers, problems = _check(kept, target, choices)
    if target.suffix == ".csv":
        text, unfit = csv_contents(kept, root_dir)
        contents = {".csv": text}
        losses, notes = _losses_of_csv(source, kept), []
    else:
        lengths = [_num_samples(u, h) for u, h in zip(kept, headers, strict=True)]
        contents, unfit = tsv_contents(kept, lengths, root_dir)
        losses, notes = _losses_of_tsv(source), _sources_of_lengths(headers)
    if problems or unfit:
        raise LabelError.from_problems(source, sorted({*problems, *unfit}))
    files = write_all(target, contents)
    return Conversion(files=files, num_clips=len(kept), left_out=left_out, losses=losses, notes=notes)


def _check_choices(source: Path, target: Path, choices: Choices) -> None:
    for path in (source, target):
        if path.suffix not in SUFFIXES:
            raise ValueError(f"{path}: expected a label file {' or '.join(SUFFIXES)}, found {path.suffix!r}")
    if choices.path_prefix and source.suffix != ".tsv":
        raise ValueError(f"--path-prefix rewrites the paths of a .tsv, found {source}")
    if choices.cluster_counts is not None and target.suffix != ".tsv":
        raise ValueError(
            f"--cluster-counts: a .csv holds no counts of units; expected a .tsv, found {target}"
        )
    if source.suffix == ".csv" and target.suffix == ".csv" and choices.languages:
        raise ValueError("--lang: a .csv holds no languages; leave it out")
    if source.suffix == ".csv" and len(choices.languages) > 1:
        raise ValueError(
            f"--lang: all clips of a .csv have the same languages, found {_named(choices.languages)}"
        )
    if choices.check_frames and not choices.media:
        raise ValueError("--check-frames reads the media: leave --no-media-check out")
    given = choices.cluster_counts and choices.cluster_counts.resolve()
    there = [p for p in group_of(target) if p.exists() and p.resolve() != given]
    if there and not choices.overwrite:
        raise ValueError(f"{there[0]} exists already; use --overwrite, or choose another name")


def _check_prefixes(source: Path, prefixes: Sequence[tuple[str, str]]) -> None:
    if not prefixes:
        return
    root, rows = avhubert_tsv.read_rows(source)
    paths = [avhubert_tsv.joined(root, column) for row in rows for column in (row.video, row.audio)]
    for old, new in prefixes:
        if not any(fits(path, old) for path in paths):
            raise ValueError(
                f"--path-prefix {old}={new}: no path of {source} begins with {old}; the first is {paths[0]}"
            )


def _with_counts(utterances: Sequence[Utterance], path: Path) -> list[Utterance]:
    runs = avhubert_tsv.read_run_lengths(path, [utterance.num_frames for utterance in utterances])
    return [replace(u, run_lengths=counts) for u, counts in zip(utterances, runs, strict=True)]


def _select(
    source: Path, target: Path, utterances: list[Utterance], choices: Choices
) -> tuple[list[Utterance], list[str]]:
    """The clips that are wanted, with their languages, and what is left out and why."""
    left_out: list[str] = []
    if source.suffix == ".csv":
        [languages] = choices.languages or (avhubert_tsv.DEFAULT_LANGUAGES,)
        kept = [replace(utterance, languages=languages) for utterance in utterances]
    else:
        kept = _of_languages(source, target, utterances, choices.languages)
        if len(kept) < len(utterances):
            others = _counted(u for u in utterances if u.languages not in choices.languages)
            left_out.append(f"{len(utterances) - len(kept)} of other languages: {others}")
    for limit, word, wanted in (
        (choices.min_frames, "shorter", lambda u: u.num_frames >= choices.min_frames),
        (choices.max_frames, "longer", lambda u: u.num_frames <= choices.max_frames),
    ):
        if limit is not None:
            kept = _filter(kept, wanted, f"{word} than {limit} frames", left_out)
    if not kept:
        raise ValueError(f"{source}: none of its {len(utterances)} clips is left: {'; '.join(left_out)}")
    return kept, left_out


def _filter(
    utterances: list[Utterance], wanted: Callable[[Utterance], bool], reason: str, left_out: list[str]
) -> list[Utterance]:
    kept = [utterance for utterance in utterances if wanted(utterance)]
    if len(kept) < len(utterances):
        left_out.append(f"{len(utterances) - len(kept)} {reason}")
    return kept


def _of_languages(
    source: Path, target: Path, utterances: list[Utterance], wanted: Sequence[Languages]
) -> list[Utterance]:
    found = _counted(utterances)
    present = {utterance.languages for utterance in utterances}
    if missing := [pair for pair in wanted if pair not in present]:
        raise ValueError(f"--lang {_named(missing)}: no such clips in {source}, found {found}")
    if not wanted and target.suffix == ".csv" and len(present) > 1:
        raise ValueError(
            f"{source}: found clips of several languages ({found}), which a .csv cannot tell apart; "
            "choose with --lang"
        )
    return [utterance for utterance in utterances if not wanted or utterance.languages in wanted]


def _check(utterances: list[Utterance], target: Path, choices: Choices) -> tuple[list[_Headers], Problems]:
    """What the media's headers say, and lines whose text or media cannot be used."""
    problems = [
        Problem(
            u.position[1],
            "expected a transcript, found empty text; --allow-empty keeps such clips",
            Kind.EMPTY_TEXT,
        )
        for u in utterances
        if not (u.has_text or choices.allow_empty)
    ]

    def paths(medium: str) -> Iterator[tuple[int, str]]:
        return ((u.position[1], str(getattr(u, f"{medium}_path"))) for u in utterances)

    missing = missing_media(paths, choices.media)
    problems += missing
    if not choices.media or missing or not (choices.check_frames or target.suffix == ".tsv"):
        return [_Headers()] * len(utterances), problems
    with ThreadPoolExecutor(NUM_READERS) as pool:
        headers = list(
            tqdm(
                pool.map(lambda u: _read_headers(u, choices.check_frames), utterances),
                total=len(utterances),
                desc="reading headers",
                unit="clip",
                mininterval=0.1 if sys.stderr.isatty() else 10.0,
                delay=1.0,
            )
        )
    for utterance, header in zip(utterances, headers, strict=True):
        problems += [Problem(utterance.position[1], problem) for problem in header.problems]
    return headers, problems


def _read_headers(utterance: Utterance, check_frames: bool) -> _Headers:
    has_video, has_sound = utterance.video_path.is_file(), utterance.audio_path.is_file()
    problems = []
    try:
        if check_frames and has_video:
            found = num_video_frames(utterance.video_path)
            problems.append(frames_problem(utterance, found))
        sound = utterance.audio_path if has_sound else utterance.video_path
        num_samples = num_audio_samples(sound)
        if check_frames and num_samples is not None:
            problems.append(sound_problem(utterance, num_samples, sound))
    except MediaError as error:
        return _Headers(problems=(str(error),))
    return _Headers(num_samples, not has_sound, tuple(filter(None, problems)))


def _num_samples(utterance: Utterance, headers: _Headers) -> int:
    if headers.num_samples is None:
        return utterance.num_frames * SAMPLES_PER_VIDEO_FRAME
    return headers.num_samples


def _sources_of_lengths(headers: Sequence[_Headers]) -> list[str]:
    silent = sum(header.num_samples is None for header in headers)
    in_video = sum(header.in_video and header.num_samples is not None for header in headers)
    from_file = len(headers) - silent - in_video
    said = (
        (from_file, "counted in the sound file's header"),
        (in_video, "counted in the header of the video's own sound track"),
        (silent, f"taken as {SAMPLES_PER_VIDEO_FRAME} a video frame: no sound was found, or looked at"),
    )
    return [f"audio samples of {number} clips {how}" for number, how in said if number]


def _losses_of_csv(source: Path, utterances: Sequence[Utterance]) -> list[str]:
    losses = []
    if source.suffix == ".csv":
        return losses + _column_4(source)
    losses.append(f"languages: {_counted(utterances)}")
    if with_counts := sum(utterance.run_lengths is not None for utterance in utterances):
        losses.append(f"counts of units: {with_counts} clips")
    elsewhere = [u for u in utterances if u.audio_path != u.video_path.with_suffix(".wav")]
    if elsewhere:
        losses.append(
            f"paths of the sound: {len(elsewhere)} clips (first {elsewhere[0].audio_path}); "
            "of a .csv it is the .wav beside the video, or the video's own track"
        )
    return [*losses, "ids and numbers of audio samples"]


def _losses_of_tsv(source: Path) -> list[str]:
    if source.suffix == ".csv":
        return _column_4(source)
    more = sum(line.count("\t") > 4 for line in read_lines(source))
    return [f"sixth column: {more} clips"] if more else []


def _column_4(source: Path) -> list[str]:
    filled = sum(bool(line.split(",", 4)[3].strip()) for line in read_lines(source))
    return [f"column 4, which is not used: {filled} clips"] if filled else []


def _counted(utterances: Sequence[Utterance]) -> str:
    numbers = Counter(utterance.languages for utterance in utterances)
    return ", ".join(f"{_named([pair])} {numbers[pair]}" for pair in sorted(numbers))


def _named(pairs: Sequence[Languages]) -> str:
    return ", ".join("-".join(pair) for pair in pairs)
