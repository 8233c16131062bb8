"""A label format: one JSON object a line, with `video`, `frames` and `text`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from datamodules.batch import Utterance

SUFFIXES = (".jsonl",)
NAMES_LANGUAGES = False


@dataclass(frozen=True, kw_only=True)
class Options:
    """Labels in JSON"""

    json_text_key: str = "text"
    """Key of the transcript in .jsonl label files."""


def read(
    path: Path, root_dir: Path, media: Sequence[str] = ("audio", "video"), json_text_key: str = "text"
) -> list[Utterance]:
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    found = [
        Utterance(
            id=row["video"],
            video_path=root_dir / row["video"],
            audio_path=(root_dir / row["video"]).with_suffix(".wav"),
            num_frames=row["frames"],
            text=row[json_text_key],
            source=f"{path}:{number}",
        )
        for number, row in enumerate(rows, start=1)
    ]
    for utterance in found:
        if media and not utterance.video_path.exists():
            raise ValueError(f"{utterance.source}: expected a video at {utterance.video_path}, found none")
    return found


def tiny(folder: Path) -> Path:
    path = folder / "labels.jsonl"
    rows = [
        {"video": "a.mp4", "frames": 50, "text": "hello world"},
        {"video": "b.mp4", "frames": 25, "text": "fox"},
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path
