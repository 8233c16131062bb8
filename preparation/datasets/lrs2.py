"""LRS2: `mvlrs_v1/{main,pretrain}/ID/UTT.{mp4,txt}` and the lists that say which are train, val and test."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from preparation.datasets import Item, folder_with
from preparation.datasets.transcripts import read_lrs_text, read_lrs_words, read_text

NAME = "lrs2"
SUBSETS = ("train", "val", "test")
EXAMPLE = "main/ or pretrain/ (or mvlrs_v1/, which has them)"


def items(source_dir: Path, subsets: Sequence[str] = SUBSETS, lists_dir: Path | None = None) -> list[Item]:
    """Videos in the order of the lists; `train` is all of `pretrain`, then train.txt.

    The lists are looked for in `lists_dir`, or else in `source_dir`, beside and in mvlrs_v1. With a list
    pretrain.txt, only its videos are taken of `pretrain`.

    Raises:
        ValueError: the folder is laid out otherwise, or a list is missing.
    """
    base = folder_with(Path(source_dir), ("main", "pretrain"), EXAMPLE)
    places = [Path(lists_dir)] if lists_dir is not None else [Path(source_dir), base, base.parent]
    found = []
    for subset in subsets:
        if subset == "train":
            found += _pretrain(base, places)
        names = _read_list(places, subset)
        if names is None:
            looked = " or ".join(dict.fromkeys(str(place) for place in places))
            raise ValueError(
                f"no list {subset}.txt in {looked}; LRS2 comes with lists of ID/UTT, --lists-dir says where "
                "they are"
            )
        found += [_item(base, "main", name, subset) for name in names]
    if not found:
        raise ValueError(f"{base}: found no video for {', '.join(subsets)}")
    return found


def present(source_dir: Path) -> tuple[str, ...]:
    """All of them: whether there are lists is found out when they are read."""
    return SUBSETS


def _pretrain(base: Path, places: Sequence[Path]) -> list[Item]:
    names = _read_list(places, "pretrain")
    if names is None:
        names = [f"{video.parent.name}/{video.stem}" for video in sorted((base / "pretrain").glob("*/*.mp4"))]
    return [_item(base, "pretrain", name, "train") for name in names]


def _read_list(places: Sequence[Path], name: str) -> list[str] | None:
    """The first column of a list; None where there is no such list."""
    path = next((place / f"{name}.txt" for place in places if (place / f"{name}.txt").is_file()), None)
    if path is None:
        return None
    names = [line.split()[0] for line in read_text(path).split("\n") if line.strip()]
    for entry in names:
        parts = entry.split("/")
        if len(parts) != 2 or not all(parts) or ".." in parts:
            raise ValueError(f"{path}: expected ID/UTT in each line, found {entry!r}")
    return names


def _item(base: Path, folder: str, name: str, subset: str) -> Item:
    video = base / folder / f"{name}.mp4"
    return Item(
        name=f"{folder}/{name}",
        subset=subset,
        video=video,
        transcript=video.with_suffix(".txt"),
        read=read_lrs_words if folder == "pretrain" else read_lrs_text,
    )
