"""Data sets as they are published: which videos there are, and where what is said in them is written.

A module here has `NAME` (the folder below the root, and the first column of label files), `SUBSETS` (those
label files are made for) and `items(...)`, which lists videos without opening them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from preparation.datasets.segments import Transcript
from preparation.resuming import stamp


@dataclass(frozen=True, kw_only=True)
class Item:
    """One video of a data set."""

    name: str
    """Where its clips go, below the data set's video folder and without suffix: `pretrain/ID/UTT`."""
    subset: str
    """The label file it belongs to: "train", "val" or "test"."""
    video: Path
    transcript: Path | Transcript
    """A file for `read`, or what is known already."""
    read: Callable[[Path], Transcript] | None = None
    """A function of a module, or a dataclass with `__call__`: items go to other processes."""
    sound: Path | None = None
    """Where the sound is a file of its own."""
    rel_path: Path | None = None
    """Where landmarks of its faces are looked for below a folder of them, if not under `name`."""
    one_mouth: bool = True
    """One speaker throughout, as in clips of a published data set. If not, a scene cut or a face that is lost
    for long ends a clip."""

    @property
    def place(self) -> Path:
        return self.rel_path or Path(f"{self.name}{self.video.suffix}")

    def load_transcript(self) -> Transcript:
        """Raises ValueError where it cannot be read."""
        return self.read(self.transcript) if isinstance(self.transcript, Path) else self.transcript

    def state(self) -> list[object]:
        """Changes whenever a file of this item, or how it is read, does."""
        reader = self.read
        described = getattr(reader, "__qualname__", None) or repr(reader)
        known = None if isinstance(self.transcript, Path) else repr(self.transcript)
        files = [self.video, self.sound, self.transcript if isinstance(self.transcript, Path) else None]
        return [described, known, *(path and stamp(path) for path in files)]


def folder_with(source_dir: Path, wanted: Sequence[str], example: str) -> Path:
    """`source_dir`, or the one folder directly in it, that has a subfolder named one of `wanted`.

    Raises:
        ValueError: none has, or several; `example` shows what was expected.
    """
    if not source_dir.is_dir():
        raise ValueError(f"{source_dir}: no such folder; --source-dir names the data set as it was unpacked")
    for candidates in ([source_dir], sorted(path for path in source_dir.iterdir() if path.is_dir())):
        found = [folder for folder in candidates if any((folder / name).is_dir() for name in wanted)]
        if len(found) == 1:
            return found[0]
        if found:
            raise ValueError(f"{source_dir}: found {found[0].name} and {found[1].name}; name one of them")
    raise ValueError(f"{source_dir}: expected {example} in it, found neither that nor a folder that has it")
