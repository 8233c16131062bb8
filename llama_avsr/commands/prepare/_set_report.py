"""What a person wants to know when a data set has been prepared."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from preparation.datasets.pipeline import Report

FRAMES_PER_SECOND = 25
SECONDS_PER_MINUTE, SECONDS_PER_HOUR = 60, 3600


def report_lines(dataset: str, root_dir: Path, report: Report) -> list[str]:
    """What a person wants to know at the end."""
    new = report.num_videos - report.num_done_before
    before = f", {report.num_done_before} of them in an earlier run" if report.num_done_before else ""
    lines = [f"{dataset}: went through {report.num_videos} videos{before}; it is in {root_dir}"]
    if not new:
        lines = [f"{dataset}: all {report.num_videos} videos had been gone through; it is in {root_dir}"]
    for subset, found in report.subsets.items():
        length = duration(found.num_frames / FRAMES_PER_SECOND)
        lines.append(f"  {subset:5s} {found.num_clips:7d} clips {length:>9s}")
        if found.num_other_lengths:
            lines.append(f"        {found.num_other_lengths:7d} clips shorter or longer than asked for")
        if found.num_without_text:
            lines.append(f"        {found.num_without_text:7d} clips without text: see --transcripts")
        lines += [f"        {path}" for path in found.files]
    if report.left_out:
        lines.append(f"  skipped, see {report.left_out_path}:")
        lines += _reasons(report)
    return lines


def _reasons(report: Report) -> list[str]:
    counts = Counter(why.reason for _, why in report.left_out)
    lines = []
    for reason, count in counts.most_common():
        name, why = next(entry for entry in report.left_out if entry[1].reason == reason)
        lines.append(f"  {count:13d} {reason}; {'such as ' if count > 1 else ''}{name}: {why.detail}")
    return lines


def duration(seconds: float) -> str:
    if seconds < SECONDS_PER_MINUTE:
        return f"{seconds:.1f} s"
    if seconds < SECONDS_PER_HOUR:
        return f"{seconds / SECONDS_PER_MINUTE:.1f} min"
    return f"{seconds / SECONDS_PER_HOUR:.1f} h"
