"""VoxCeleb2: `{dev,test}/mp4/ID/VIDEO/UTT.mp4`, with the sound there or in `{dev,test}/aac/ID/VIDEO/UTT.m4a`.

Nobody wrote down what is said: transcripts come from a speech recognition model.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from preparation.datasets import Item, folder_with, text
from preparation.datasets.asr_transcripts import AsrTranscripts
from preparation.datasets.segments import Transcript, UnknownText, Words

NAME = "vox2"
FOLDERS = {"train": "dev", "test": "test"}
SUBSETS = tuple(FOLDERS)
EXAMPLE = "dev/ or test/ with mp4/ID/VIDEO/UTT.mp4"
SOUND_FOLDERS = {"aac": ".m4a", "wav": ".wav"}


def items(
    source_dir: Path, subsets: Sequence[str] = SUBSETS, transcripts: AsrTranscripts | None = None
) -> list[Item]:
    """Videos in order. Those whose transcript has word times are cut by them, others where it is quiet.

    Raises:
        ValueError: the folder is laid out otherwise, or has nothing of a subset that was asked for.
    """
    base = folder_with(Path(source_dir), list(FOLDERS.values()), EXAMPLE)
    found = []
    for subset in subsets:
        folder = base / FOLDERS[subset]
        videos = sorted((folder / "mp4").glob("*/*/*.mp4"))
        if not videos:
            raise ValueError(
                f"no video for {subset}: expected {folder}/mp4/ID/VIDEO/UTT.mp4; --subset chooses what is "
                "prepared"
            )
        found += [_item(folder, video, subset, transcripts) for video in videos]
    return found


def present(source_dir: Path) -> tuple[str, ...]:
    """The subsets of which there is a folder."""
    base = folder_with(Path(source_dir), list(FOLDERS.values()), EXAMPLE)
    return tuple(name for name, folder in FOLDERS.items() if (base / folder).is_dir())


def _item(folder: Path, video: Path, subset: str, transcripts: AsrTranscripts | None) -> Item:
    rel_path = video.relative_to(folder / "mp4").with_suffix("")
    places = (folder / name / rel_path.with_suffix(suffix) for name, suffix in SOUND_FOLDERS.items())
    return Item(
        name=f"{folder.name}/{rel_path.as_posix()}",
        subset=subset,
        video=video,
        transcript=_transcript(rel_path.as_posix(), transcripts),
        sound=next((place for place in places if place.is_file()), None),
    )


def _transcript(name: str, transcripts: AsrTranscripts | None) -> Transcript:
    heard = transcripts.get(name) if transcripts is not None else None
    if heard is None or not heard.words:
        return UnknownText()
    return Words(tuple(replace(word, text=text.spoken(word.text)) for word in heard.words))
