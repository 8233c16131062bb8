"""LRS3: `{pretrain,trainval,test}/ID/UTT.{mp4,txt}`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from preparation.datasets import Item, folder_with
from preparation.datasets.transcripts import read_lrs_text, read_lrs_words

NAME = "lrs3"
FOLDERS = {"train": ("pretrain", "trainval"), "test": ("test",)}
SUBSETS = tuple(FOLDERS)
ALIGNED_FOLDER = "pretrain"
EXAMPLE = "pretrain/, trainval/ or test/ with ID/UTT.mp4 and .txt"


def items(source_dir: Path, subsets: Sequence[str] = SUBSETS) -> list[Item]:
    """Videos in order of folder, id and utterance. Only `pretrain` is cut; it is the one with alignments.

    Raises:
        ValueError: the folder is laid out otherwise, or has nothing of a subset that was asked for.
    """
    all_folders = [folder for names in FOLDERS.values() for folder in names]
    base = folder_with(Path(source_dir), all_folders, EXAMPLE)
    found = []
    for subset in subsets:
        of_subset = [
            Item(
                name=f"{folder}/{video.parent.name}/{video.stem}",
                subset=subset,
                video=video,
                transcript=video.with_suffix(".txt"),
                read=read_lrs_words if folder == ALIGNED_FOLDER else read_lrs_text,
            )
            for folder in FOLDERS[subset]
            for video in sorted((base / folder).glob("*/*.mp4"))
        ]
        if not of_subset:
            folders = " or ".join(f"{base / folder}/ID/UTT.mp4" for folder in FOLDERS[subset])
            raise ValueError(f"no video for {subset}: expected {folders}; --subset chooses what is prepared")
        found += of_subset
    return found


def present(source_dir: Path) -> tuple[str, ...]:
    """The subsets of which there is a folder."""
    base = folder_with(Path(source_dir), [f for names in FOLDERS.values() for f in names], EXAMPLE)
    return tuple(
        name for name, folders in FOLDERS.items() if any((base / folder).is_dir() for folder in folders)
    )
