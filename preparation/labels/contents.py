"""What label files hold: the lines of a .csv, of a .tsv and of the files beside it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from datamodules.batch import Utterance
from datamodules.formats._checks import Kind, Problem
from datamodules.formats.avhubert_tsv import COUNTS_SUFFIX, TEXT_SUFFIX, row_id

Problems = list[Problem]
"""By line of the source."""


def csv_line(dataset: str, rel_path: str, num_frames: int, text: str, ignored: str = "") -> str:
    """A line of a 5-column .csv; `ignored` is its fourth column."""
    return f"{dataset},{rel_path},{num_frames},{ignored},{text}\n"


def tsv_line(clip_id: str, video: str, audio: str, num_frames: int, num_samples: int) -> str:
    """A line of a .tsv."""
    return f"{clip_id}\t{video}\t{audio}\t{num_frames}\t{num_samples}\n"


def csv_contents(utterances: Sequence[Utterance], root_dir: Path) -> tuple[str, Problems]:
    """The 5-column .csv of `utterances`, column 4 empty, and what a .csv cannot hold."""
    root = os.path.abspath(root_dir)
    lines: list[str] = []
    problems: Problems = []
    line_of_clip: dict[str, int] = {}
    for utterance in utterances:
        number = utterance.position[1]
        path = below(utterance.video_path, root)
        dataset, _, rel_path = (path or "").partition("/")
        first = line_of_clip.setdefault(os.path.splitext(path or str(number))[0], number)
        if not rel_path:
            reason = f"expected a video in a folder below {root_dir}, found {utterance.video_path}"
            problems.append(Problem(number, reason))
        elif "," in path:
            problems.append(Problem(number, f"a path in a .csv holds no comma, found {path!r}"))
        elif first != number:
            problems.append(Problem(number, f"{path} is a duplicate clip", Kind.DUPLICATE, first))
        elif not utterance.text:
            problems.append(Problem(number, "a .csv holds no clip without text", Kind.EMPTY_TEXT))
        lines.append(csv_line(dataset, rel_path, utterance.num_frames, utterance.text))
    return "".join(lines), problems


def tsv_contents(
    utterances: Sequence[Utterance], nums_samples: Sequence[int], root_dir: Path
) -> tuple[dict[str, str], Problems]:
    """By suffix the .tsv, the .wrd and, where all clips have runs of units, the .cluster_counts.

    The root is `.`, that is `root_dir`, where every file lies below it; otherwise it is `/`.
    """
    root = os.path.abspath(root_dir)
    media = [(utterance.video_path, utterance.audio_path) for utterance in utterances]
    columns = [[below(path, root) for path in paths] for paths in media]
    line_1 = "."
    if any(path is None for paths in columns for path in paths):
        line_1 = "/"
        columns = [[os.path.abspath(path) for path in paths] for paths in media]
    rows, problems = [f"{line_1}\n"], []
    for utterance, paths, num_samples in zip(utterances, columns, nums_samples, strict=True):
        clip_id = manifest_id(utterance)
        if any("\t" in column for column in (clip_id, *paths)):
            reason = f"a path in a .tsv holds no tab, found {paths[0]!r}"
            problems.append(Problem(utterance.position[1], reason))
        rows.append(tsv_line(clip_id, *paths, utterance.num_frames, num_samples))
    contents = {".tsv": "".join(rows), TEXT_SUFFIX: "".join(f"{u.text}\n" for u in utterances)}
    runs = [utterance.run_lengths for utterance in utterances]
    if None not in runs:
        contents[COUNTS_SUFFIX] = "".join(" ".join(map(str, counts)) + "\n" for counts in runs)
    return contents, problems


def manifest_id(utterance: Utterance) -> str:
    """The id in a .tsv: its own where the clip comes from one, else `<dataset>/<src>-<tgt>/<stem>`."""
    if utterance.position[0].endswith(".tsv"):
        return row_id(utterance)
    dataset, _, stem = utterance.id.partition("/")
    return f"{dataset}/{'-'.join(utterance.languages)}/{stem}"


def below(path: Path | str, root: str) -> str | None:
    """`path` seen from the absolute folder `root`; None where it lies elsewhere."""
    path, root = os.path.abspath(path), root.rstrip("/")
    return path[len(root) + 1 :] if path.startswith(root + "/") else None
