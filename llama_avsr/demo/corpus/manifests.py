"""Manifests of the demo corpus for VSP-LLM's two tasks: English transcripts and word-by-word Spanish."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from datamodules import formats
from datamodules.batch import SAMPLES_PER_VIDEO_FRAME, Utterance
from datamodules.formats import avhubert_tsv
from datamodules.formats._checks import LabelError
from llama_avsr.demo.corpus.making import label_path
from llama_avsr.demo.corpus.plan import DATASET, SPLITS
from llama_avsr.demo.corpus.translation import translate
from preparation.labels import files
from preparation.labels.contents import tsv_contents

BY_TURNS = ("train", "val")
"""Here every clip comes once, its language by turns: a pass is as long as without translation. In tests
it comes in both languages."""


def manifest_path(root_dir: Path, split: str) -> Path:
    """The .tsv of "train", "val", "test_seen" or "test_unseen", which the other files lie beside."""
    return root_dir / "labels" / f"{DATASET}_{split}_vsp.tsv"


def write_manifests(root_dir: Path, units_dir: Path | None = None) -> dict[str, int]:
    """Write the four manifests of the demo corpus in `root_dir`; returns their numbers of clips.

    units_dir: where `units apply` wrote the .cluster_counts of the corpus's four .csv, which are set beside
    the manifests.

    Raises:
        ValueError: no corpus there, or units that do not fit it.
    """
    made = {}
    for split in SPLITS:
        source = label_path(root_dir, split)
        if not source.is_file():
            raise ValueError(f"{source}: found no such file; make the corpus with `prepare_data.py demo`")
        clips = formats.read(source, root_dir)
        if units_dir is not None:
            counts_path = units_dir / f"{source.stem}{avhubert_tsv.COUNTS_SUFFIX}"
            counts = avhubert_tsv.read_run_lengths(counts_path, [clip.num_frames for clip in clips])
            clips = [replace(clip, run_lengths=runs) for clip, runs in zip(clips, counts, strict=True)]
        rows = _by_turns(clips) if split in BY_TURNS else _in_both(clips)
        lengths = [row.num_frames * SAMPLES_PER_VIDEO_FRAME for row in rows]
        contents, problems = tsv_contents(rows, lengths, root_dir)
        if problems:
            raise LabelError.from_problems(source, problems)
        files.write_all(manifest_path(root_dir, split), contents)
        made[split] = len(rows)
    return made


def _by_turns(clips: Sequence[Utterance]) -> list[Utterance]:
    # Speakers take turns as well, in an even number: by pairs of rounds each of them gets both languages.
    speakers = len({clip.video_path.parent for clip in clips})
    return [_spanish(c) if (i + i // max(speakers, 1)) % 2 else c for i, c in enumerate(clips)]


def _in_both(clips: Sequence[Utterance]) -> list[Utterance]:
    return [*clips, *map(_spanish, clips)]


def _spanish(clip: Utterance) -> Utterance:
    return replace(clip, languages=("en", "es"), text=translate(clip.text))
