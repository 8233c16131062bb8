"""What validation found, for the screen and as JSON."""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Sequence
from typing import Any

from datamodules.batch import VIDEO_FPS, Utterance
from preparation.labels.validate import Checked, Problem

USUAL_CHARACTERS = frozenset("abcdefghijklmnopqrstuvwxyz' ")
MAX_BINS = 16
BIN_WIDTHS_S = (0.5, 1, 2, 5, 10, 30, 60, 300)
BAR_WIDTH = 40
CHARACTERS_SHOWN = 20
SECONDS_PER_HOUR = 3600


def summary(file: Checked) -> dict[str, Any]:
    """Statistics of a label file, over the clips with which nothing is wrong."""
    good = file.good
    found = {
        "file": str(file.path),
        "clips": file.num_clips,
        "clips_without_problems": len(good),
        "hours": sum(utterance.num_frames for utterance in good) / VIDEO_FPS / SECONDS_PER_HOUR,
    }
    if good:
        found |= {"frames": _lengths(good), "histogram": _histogram(good), "text": _text(good)}
    return found


def as_json(files: Sequence[Checked]) -> dict[str, Any]:
    """Everything: statistics and every problem."""
    return {
        "files": [summary(file) for file in files],
        "problems": [
            {
                "kind": problem.kind,
                "file": str(problem.path),
                "line": problem.line,
                "detail": problem.detail,
                "warning": problem.is_warning,
            }
            for file in files
            for problem in file.problems
        ],
    }


def lines(files: Sequence[Checked], examples: int) -> list[str]:
    """For the screen; of each kind of problem so many examples."""
    shown = []
    for file in files:
        shown += [*_file_lines(summary(file)), ""]
    problems = [problem for file in files for problem in file.problems]
    for is_warning, title in ((True, "worth a look"), (False, "problems")):
        of_sort = [problem for problem in problems if problem.is_warning == is_warning]
        if of_sort:
            shown += [f"{title}:", *_problem_lines(of_sort, examples), ""]
    broken = sum(len(file.broken_lines) for file in files)
    shown.append(f"{broken} lines have problems" if broken else "no problem found")
    return shown


def _problem_lines(problems: Sequence[Problem], examples: int) -> list[str]:
    shown = []
    for kind, count in Counter(problem.kind for problem in problems).most_common():
        shown.append(f"  {count:7d} {kind}")
        of_kind = [problem for problem in problems if problem.kind == kind]
        for problem in of_kind[:examples]:
            where = f"{problem.path.name}:{problem.line}" if problem.line else problem.path.name
            shown.append(f"            {where}: {problem.detail}")
        if len(of_kind) > examples:
            shown.append(f"            and {len(of_kind) - examples} more")
    return shown


def _file_lines(found: dict[str, Any]) -> list[str]:
    shown = [
        f"{found['file']}: {found['clips']} clips, {found['clips_without_problems']} without problems, "
        f"{found['hours']:.2f} h"
    ]
    if "frames" not in found:
        return shown
    frames, text = found["frames"], found["text"]
    shown.append("  frames      " + "  ".join(f"{name} {value:g}" for name, value in frames.items()))
    largest = max(count for _, _, count in found["histogram"])
    for start, end, count in found["histogram"]:
        bar = "#" * round(BAR_WIDTH * count / largest)
        shown.append(f"  {start:5.1f} - {end:5.1f} s {count:7d} {bar}".rstrip())
    shown.append(
        f"  text        {text['words']} words, {text['different_words']} different; "
        f"{text['letters_per_second']:.1f} characters a second; {text['upper_case_share']:.1%} upper-case"
    )
    unusual = text["unusual_characters"]
    if unusual:
        listed = " ".join(f"{name!r} {count}" for name, count in list(unusual.items())[:CHARACTERS_SHOWN])
        more = f" and {len(unusual) - CHARACTERS_SHOWN} more" if len(unusual) > CHARACTERS_SHOWN else ""
        shown.append(f"  characters besides a-z and ': {listed}{more}")
    return shown


def _lengths(utterances: Sequence[Utterance]) -> dict[str, float]:
    lengths = sorted(utterance.num_frames for utterance in utterances)
    return {
        "min": lengths[0],
        "median": statistics.median(lengths),
        "mean": round(statistics.fmean(lengths), 1),
        "95%": lengths[min(len(lengths) - 1, int(0.95 * len(lengths)))],
        "max": lengths[-1],
    }


def _histogram(utterances: Sequence[Utterance]) -> list[tuple[float, float, int]]:
    """(from, to, clips) in seconds; `to` belongs to the next."""
    lengths = [utterance.num_frames / VIDEO_FPS for utterance in utterances]
    spread = max(lengths) - min(lengths)
    width = next((width for width in BIN_WIDTHS_S if spread / width < MAX_BINS - 1), spread / MAX_BINS)
    counts = Counter(math.floor(length / width) for length in lengths)
    return [(i * width, (i + 1) * width, counts[i]) for i in range(min(counts), max(counts) + 1)]


def _text(utterances: Sequence[Utterance]) -> dict[str, Any]:
    characters = Counter(character for utterance in utterances for character in utterance.text)
    words = Counter(word for utterance in utterances for word in utterance.text.split())
    letters = sum(count for character, count in characters.items() if character.isalpha())
    upper = sum(count for character, count in characters.items() if character.isupper())
    # Capitals have a figure of their own; their letters are not unusual.
    unusual = Counter()
    for character, count in characters.items():
        if character.lower() not in USUAL_CHARACTERS:
            unusual[character] += count
    seconds = sum(utterance.num_frames for utterance in utterances) / VIDEO_FPS
    return {
        "words": words.total(),
        "different_words": len(words),
        "letters_per_second": characters.total() / seconds,
        "upper_case_share": upper / max(letters, 1),
        "unusual_characters": dict(unusual.most_common()),
    }
