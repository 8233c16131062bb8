"""Clips packed into tar shards as of WebDataset, with a label file that says where each lies."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from tqdm import tqdm

from datamodules.batch import Utterance
from datamodules.files import whole_or_nothing, write_whole
from datamodules.formats.shards import MEDIA, NOTHING
from datamodules.media.opening import MediaError, check_regular, reading
from datamodules.media.packed import BLOCK_BYTES, MAX_BYTES, Packed, content, num_bytes

SUFFIX = ".shards"


@dataclass(frozen=True)
class Packing:
    """What was written."""

    label_file: Path
    shards: list[Path]
    num_clips: int


def pack(
    clips: Sequence[Utterance],
    target: Path,
    media: Sequence[str],
    clips_per_shard: int,
    address: str = "",
    overwrite: bool = False,
) -> Packing:
    """Write shards beside `target`, a .shards file, which appears last.

    A clip becomes KEY.mp4, KEY.wav, KEY.txt and KEY.json; the key is its place in the label file.
    media: which of "audio" and "video" are packed; for a clip without a .wav its video is the sound.
    address: where the shards will be read from, if that is not beside the label file.

    Raises:
        ValueError: the target is there already, or has another suffix.
        MediaError: a file of a clip cannot be read.
    """
    if target.suffix != SUFFIX:
        raise ValueError(f"{target}: expected a name that ends in {SUFFIX}")
    if target.exists() and not overwrite:
        raise ValueError(f"{target} exists already; use --overwrite, or choose another name")
    target.unlink(missing_ok=True)  # of the shards that are written anew
    starts = range(0, len(clips), clips_per_shard)
    shards, lines = [], []
    for number, start in enumerate(tqdm(starts, desc="packing", unit="shard", delay=1.0)):
        shard = target.with_name(f"{target.stem}-{number:05d}.tar")
        where = f"{address.rstrip('/')}/{shard.name}" if address else shard.name
        with whole_or_nothing(shard) as temporary, temporary.open("wb") as file:
            for place in range(start, min(start + clips_per_shard, len(clips))):
                lines.append(_add(file, clips[place], f"{place:08d}", where, media))
            file.write(bytes(2 * BLOCK_BYTES))
        shards.append(shard)
    write_whole(target, "".join(f"{line}\n" for line in lines))
    return Packing(target, shards, len(clips))


def _add(file: BinaryIO, clip: Utterance, key: str, shard: str, media: Sequence[str]) -> str:
    """Append a clip's files; returns its line."""
    has_sound = clip.audio_path.exists()
    wanted = {"video": "video" in media or not has_sound, "audio": "audio" in media and has_sound}
    places = {}
    for medium, _, suffix in MEDIA:
        places[medium] = NOTHING
        if wanted[medium]:
            data = _content(getattr(clip, f"{medium}_path"))
            places[medium] = f"{_append(file, key + suffix, data)},{len(data)}"
    languages = "-".join(clip.languages)
    runs = NOTHING if clip.run_lengths is None else " ".join(map(str, clip.run_lengths))
    about = {"id": clip.id, "frames": clip.num_frames, "languages": languages, "text": clip.text}
    _append(file, f"{key}.txt", clip.text.encode())
    _append(file, f"{key}.json", json.dumps(about, ensure_ascii=False).encode())
    columns = (clip.id, languages, clip.num_frames, shard, key, *places.values(), runs, clip.text)
    return "\t".join(map(str, columns))


def _content(path: Path | Packed) -> bytes:
    with reading(path, "packed"):
        check_regular(path)
        if not 0 < num_bytes(path) <= MAX_BYTES:
            raise MediaError(f"{path}: found {num_bytes(path)} bytes, expected a clip")
        return content(path)


def _append(file: BinaryIO, name: str, data: bytes) -> int:
    """Returns where the data begin."""
    info = tarfile.TarInfo(name)
    info.size = len(data)
    file.write(info.tobuf(tarfile.USTAR_FORMAT))
    start = file.tell()
    file.write(data + bytes(-len(data) % BLOCK_BYTES))
    return start
