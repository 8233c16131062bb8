"""Manifests of the demo's data set with translations."""

from __future__ import annotations

import argparse
from pathlib import Path

HELP = "manifests of the demo's data set: English transcripts and word-by-word Spanish"
DESCRIPTION = (
    "Write manifests (.tsv, .wrd) of the demo's data set for recognition and translation in one model: in "
    "training and validation each clip has its English transcript or the word-by-word Spanish of it, by "
    "turns; in the tests it is there in both languages. With --units-dir the runs of visual units that "
    "`units apply` found lie beside them (.cluster_counts). What was there before is replaced."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--root-dir", type=Path, required=True, help="folder that `prepare_data.py demo` made", metavar="DIR"
    )
    parser.add_argument(
        "--units-dir", type=Path, help="folder that `units apply` wrote to, for all four .csv", metavar="DIR"
    )


def run(arguments: argparse.Namespace) -> None:
    from llama_avsr.demo.corpus.manifests import manifest_path, write_manifests

    for split, num_clips in write_manifests(arguments.root_dir, arguments.units_dir).items():
        print(f"{num_clips:5d} clips  {manifest_path(arguments.root_dir, split)}")
