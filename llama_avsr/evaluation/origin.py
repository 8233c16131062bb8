"""Where a result comes from: `origin.json`, enough to evaluate again and to say what differs."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from datamodules import formats
from datamodules.batch import Utterance
from datamodules.files import write_whole
from datamodules.noise_sources import MADE, show_noise
from llama_avsr.checkpoints.integrity import digest
from llama_avsr.checkpoints.source import NAMES
from llama_avsr.evaluation.report import ORIGIN_FILE, versions
from llama_avsr.options import FIELDS, Options, to_dict

DISTRIBUTION = "llama-avsr"
GIT_SECONDS = 20
PLACES = ("path", "model", "noise_file")
"""What says only where something lies; of the noise, `noise` says what it is."""


def origin(
    options: Options, utterances: Sequence[Utterance], model: str, weights: Mapping[str, str]
) -> dict[str, Any]:
    """Of one test file under one condition.

    options: complete. utterances: what was decoded. model, weights: name and checksum of its source.
    """
    label_file = formats.find(options.data.test_file[0], options.data.root_dir)
    return {
        "program": program(),
        "versions": versions(),
        "model": _absolute(model),
        "weights": dict(weights),
        "label_file": _hashed(label_file),
        "clips": _digest_of_lines(f"{clip.id}\t{clip.text}" for clip in utterances),
        "media": media_list(utterances, options.media),
        "noise": _noise(options),
        "seed": options.hardware.seed,
        "options": to_dict(_with_absolute_paths(options)),
    }


def write(folder: Path, found: Mapping[str, Any]) -> None:
    write_whole(folder / ORIGIN_FILE, json.dumps(found, indent=2, ensure_ascii=False) + "\n")


def read(folder: Path) -> dict[str, Any]:
    """Raises ValueError for a folder without one."""
    path = folder / ORIGIN_FILE
    if not path.is_file():
        raise ValueError(f"{path}: found no such file; expected a results folder of version 0.2 or later")
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ValueError(f"{path}: found no JSON: {error}") from None
    if not isinstance(found, dict) or not {"model", "options", "label_file"} <= found.keys():
        raise ValueError(f"{path}: expected model, options and label_file, found something else")
    return found


def program() -> dict[str, Any]:
    """Version of this program; from a checkout also its commit, and whether files differ from it."""
    try:
        version = importlib.metadata.version(DISTRIBUTION)
    except importlib.metadata.PackageNotFoundError:
        version = None
    package = Path(__file__).parents[1]
    # An installed package may lie inside somebody else's repository.
    if _git(package, "ls-files", "--error-unmatch", "__init__.py") is None:
        return {"version": version, "commit": None, "dirty": None}
    changes = _git(package.parent, "status", "--porcelain", "--untracked-files=no")
    return {
        "version": version,
        "commit": _git(package, "rev-parse", "HEAD"),
        "dirty": None if changes is None else bool(changes),
    }


def media_list(utterances: Sequence[Utterance], media: Sequence[str]) -> dict[str, Any]:
    """Number, bytes and checksum of the files that are read: of their ids and sizes, not of their content."""
    sizes: dict[tuple[str, str], int] = {}
    for clip in utterances:
        if "video" in media:
            sizes[clip.id, "video"] = _size(clip.video_path)
        if "audio" in media:
            sizes[clip.id, "audio"] = _size(clip.audio_path if clip.audio_path.exists() else clip.video_path)
    lines = (f"{name}\t{medium}\t{size}" for (name, medium), size in sizes.items())
    return {"num_files": len(sizes), "bytes": sum(sizes.values()), "sha256": _digest_of_lines(lines)}


def differences(before: Mapping[str, Any], after: Mapping[str, Any], prefix: str = "") -> list[str]:
    """A line for each value that is another, but for where files lie."""
    found = []
    for name in dict.fromkeys((*before, *after)):
        old, new = before.get(name), after.get(name)
        if name in PLACES or _is_private(name):
            continue
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            found += differences(old, new, f"{prefix}{name} ")
        elif old != new:
            found.append(f"{prefix}{name}: {_shown(old)} before, {_shown(new)} now")
    return found


def _noise(options: Options) -> dict[str, Any] | None:
    """What the clips are mixed with; several noises, of which one is drawn for each clip, by their names."""
    asked = options.augmentation
    if "audio" not in options.media or asked.decode_snrs_db[0] is None:
        return None
    kinds = asked.test_noise or asked.noise_file or ()
    if len(kinds) == 1:
        return _one_noise(kinds[0])
    return {f"{place} {show_noise(kind)}": _one_noise(kind) for place, kind in enumerate(kinds, 1)}


def _one_noise(kind: str) -> dict[str, Any]:
    """A file, the files of a folder, or a kind that is drawn by the seed."""
    path = Path(kind)
    if kind in MADE or not path.exists():
        return {"kind": kind}
    if path.is_file():
        return _hashed(path)
    files = sorted(file for file in path.rglob("*") if file.is_file())
    lines = (f"{file.relative_to(path)}\t{file.stat().st_size}" for file in files)
    return {"path": str(path.absolute()), "num_files": len(files), "sha256": _digest_of_lines(lines)}


def _is_private(name: str) -> bool:
    return name in FIELDS and FIELDS[name].scope.private


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 100 else f"{text[:100]}..."


def _hashed(path: Path) -> dict[str, str]:
    return {"path": str(path.absolute()), "sha256": digest(path)}


def _digest_of_lines(lines: Iterable[str]) -> str:
    return hashlib.sha256("".join(f"{line}\n" for line in lines).encode()).hexdigest()


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else -1


def _absolute(name: str) -> str:
    """A path that is there, from wherever; a name on the hub as it is."""
    return str(Path(name).absolute()) if Path(name).exists() else name


def _with_absolute_paths(options: Options) -> Options:
    paths = [name for name in FIELDS if isinstance(options[name], Path)]
    named = [name for name in NAMES if isinstance(options[name], str)]
    absolute: dict[str, Any] = {name: _absolute(str(options[name])) for name in (*paths, *named)}
    asked = options.augmentation
    for name, kinds in {"test_noise": asked.test_noise, "noise_file": asked.noise_file}.items():
        absolute[name] = kinds and tuple(k if k in MADE else _absolute(k) for k in kinds)
    return options.updated(absolute)


def _git(folder: Path, *words: str) -> str | None:
    """What git says; None where it is not installed, or has nothing to say."""
    command = ["git", "-C", str(folder), *words]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=GIT_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
