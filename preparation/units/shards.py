"""Shards of features on disk: written in pieces, continued after an interruption, found again.

A shard is `{split}_{rank}_{nshard}.npy` (float32 [frames, D]), `.len` (frames of each utterance, one a line)
and `.json` (how it was made). The `.json` comes last: with it the shard is whole.
"""

from __future__ import annotations

import hashlib
import io
import json
import logging
import os
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch

from datamodules.batch import Utterance
from datamodules.files import whole_or_nothing

log = logging.getLogger(__name__)

AUDIO_MODES = ("silent", "absent")
UTTERANCES_PER_PIECE = 128
"""What an interruption costs at most, and what clips of like length are sought among."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What the features of a shard depend on."""

    split: str
    rank: int
    nshard: int
    encoder: str
    """Fingerprint of the AV-HuBERT's weights."""
    layer: int
    audio: str
    """"silent" (a tensor of zeros) or "absent"."""
    dim: int
    utterances: str
    """Fingerprint of the clips, their order and their lengths."""

    @property
    def name(self) -> str:
        return f"{self.split}_{self.rank}_{self.nshard}"


def fingerprint_of_weights(model: torch.nn.Module) -> str:
    """Hex digest of a state dict: the same for a `.pt` and for the folder it was converted to."""
    digest = hashlib.blake2b(digest_size=16)
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name} {list(tensor.shape)} ".encode())
        digest.update(tensor.detach().cpu().contiguous().numpy())
    return digest.hexdigest()


def fingerprint_of_utterances(utterances: Sequence[Utterance]) -> str:
    """Hex digest of which clips there are, in which order and how long."""
    digest = hashlib.blake2b(digest_size=16)
    for utterance in utterances:
        digest.update(f"{utterance.id}\t{utterance.video_path.name}\t{utterance.num_frames}\n".encode())
    return digest.hexdigest()


def share_of(utterances: Sequence[Utterance], rank: int, nshard: int) -> Sequence[Utterance]:
    """The contiguous ceil(total / nshard) utterances of a shard; the last shards may have fewer, or none."""
    size = -(-len(utterances) // nshard)
    return utterances[rank * size : (rank + 1) * size]


class ShardWriter:
    """Writes one shard, piece by piece; a new writer with the same settings goes on where the last stopped.

    Raises ValueError where a finished shard of other settings has the name.
    """

    def __init__(self, folder: Path, settings: Settings) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.settings = settings
        self.path = folder / f"{settings.name}.npy"
        self._parts = {
            suffix: folder / f".{settings.name}{suffix}.part" for suffix in (".npy", ".len", ".json")
        }
        self.is_finished = self._recognise()
        self.lengths = self._finished_lengths() if self.is_finished else self._begin()

    @property
    def num_done(self) -> int:
        """Utterances that are on disk."""
        return len(self.lengths)

    def append(self, features: Sequence[np.ndarray]) -> None:
        """Add the features [T, D] of the next utterances, a whole piece of them."""
        with self._parts[".npy"].open("ab") as file:
            for values in features:
                file.write(np.ascontiguousarray(values, dtype=np.float32).tobytes())
        # Lengths follow the features: those that are noted down are there.
        with self._parts[".len"].open("a") as file:
            file.write("".join(f"{len(values)}\n" for values in features))
        self.lengths += [len(values) for values in features]

    def finish(self) -> None:
        """Give the files their names."""
        header = _header(sum(self.lengths), self.settings.dim)
        expected = len(header) + 4 * sum(self.lengths) * self.settings.dim
        found = self._parts[".npy"].stat().st_size
        if found != expected or _lengths(self._parts[".len"]) != self.lengths:
            raise ValueError(
                f"{self.path}: {found} bytes were written, expected {expected}; "
                "was this shard made by two processes at once? Run one of them again"
            )
        with self._parts[".npy"].open("r+b") as file:
            file.write(header)
            file.flush()
            os.fsync(file.fileno())
        for suffix, part in self._parts.items():
            part.replace(self.path.with_suffix(suffix))
        self.is_finished = True

    def _recognise(self) -> bool:
        """Whether the shard is there, whole and made with these settings."""
        try:
            found = json.loads(self.path.with_suffix(".json").read_text())
        except (FileNotFoundError, ValueError):
            return False
        if found != asdict(self.settings):
            raise ValueError(
                f"{self.path}: this shard was made with other settings ({self._differences(found)}); "
                "choose another --out-dir, or --overwrite"
            )
        return self.path.is_file() and self.path.with_suffix(".len").is_file()

    def _differences(self, found: object) -> str:
        found = found if isinstance(found, dict) else {}
        wanted = asdict(self.settings)
        return ", ".join(
            f"{name} {found.get(name)!r}, now {value!r}"
            for name, value in wanted.items()
            if found.get(name) != value
        )

    def _finished_lengths(self) -> list[int]:
        return _lengths(self.path.with_suffix(".len"))

    def _begin(self) -> list[int]:
        """Lengths of the utterances that an interrupted run has left; starts afresh where it left none."""
        done = self._left_over()
        if done is None:
            for part in self._parts.values():
                part.unlink(missing_ok=True)
            self._parts[".npy"].write_bytes(_header(0, self.settings.dim))
            self._parts[".len"].write_text("")
            with whole_or_nothing(self._parts[".json"]) as temporary:
                temporary.write_text(json.dumps(asdict(self.settings), indent=2) + "\n")
            return []
        os.truncate(
            self._parts[".npy"], len(_header(0, self.settings.dim)) + 4 * sum(done) * self.settings.dim
        )
        self._parts[".len"].write_text("".join(f"{length}\n" for length in done))
        log.info("%s: continuing after %d clips", self.path, len(done))
        return done

    def _left_over(self) -> list[int] | None:
        try:
            found = json.loads(self._parts[".json"].read_text())
            lengths = _lengths(self._parts[".len"])
            size = self._parts[".npy"].stat().st_size
        except (FileNotFoundError, ValueError):
            return None
        if found != asdict(self.settings):
            log.warning(
                "%s: an unfinished shard of other settings is replaced (%s)",
                self.path,
                self._differences(found),
            )
            return None
        # Whole pieces only: batches, and with them the last bits of the features, then are as without a stop.
        done = lengths[: len(lengths) // UTTERANCES_PER_PIECE * UTTERANCES_PER_PIECE]
        return (
            done if size >= len(_header(0, self.settings.dim)) + 4 * sum(done) * self.settings.dim else None
        )


def remove(folder: Path, name: str) -> None:
    """Delete a shard, finished or not."""
    for suffix in (".json", ".len", ".npy"):
        (folder / f"{name}{suffix}").unlink(missing_ok=True)
        (folder / f".{name}{suffix}.part").unlink(missing_ok=True)


def find(folder: Path, split: str) -> list[Path]:
    """The `.npy` of every shard of a split, in rank order.

    Raises ValueError where there are none, some are missing, or two sets lie beside each other.
    """
    pattern = re.compile(rf"{re.escape(split)}_(\d+)_(\d+)\.npy")
    found = {path: match for path in folder.glob("*.npy") if (match := pattern.fullmatch(path.name))}
    if not found:
        others = sorted({path.name.rsplit("_", 2)[0] for path in folder.glob("*_*_*.npy")})
        listed = f"; splits there: {', '.join(others)}" if others else ""
        raise ValueError(f"{folder}: no features of split {split!r} ({split}_RANK_NSHARD.npy){listed}")
    numbers = {int(match[2]) for match in found.values()}
    if len(numbers) > 1:
        listed = " and in ".join(map(str, sorted(numbers)))
        raise ValueError(f"{folder}: found {split} in {listed} shards; remove all but one of these sets")
    (nshard,) = numbers
    paths = [folder / f"{split}_{rank}_{nshard}.npy" for rank in range(nshard)]
    missing = [path.name for path in paths if path not in found]
    if missing:
        raise ValueError(
            f"{folder}: {len(missing)} of {nshard} shards of {split} are missing, first {missing[0]}; "
            "run `prepare_data.py units extract` again: it completes what is not finished"
        )
    return paths


def common_settings(paths: Sequence[Path]) -> dict[str, object]:
    """`encoder`, `layer` and `audio` of shards made alike; empty where their `.json` are missing.

    Raises ValueError where they differ.
    """
    kinds: dict[tuple, str] = {}
    for path in paths:
        try:
            found = json.loads(path.with_suffix(".json").read_text())
            kinds.setdefault(tuple(found[name] for name in ("encoder", "layer", "audio")), path.name)
        except FileNotFoundError:
            continue
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{path.with_suffix('.json')}: not readable ({error}); extract again") from error
    if len(kinds) > 1:
        listed = "; ".join(
            f"{name}: layer {layer}, audio {audio}, encoder {encoder[:8]}"
            for (encoder, layer, audio), name in kinds.items()
        )
        raise ValueError(
            f"shards made with different settings ({listed}); extract them with the same settings"
        )
    return dict(zip(("encoder", "layer", "audio"), next(iter(kinds), ()), strict=False))


def _lengths(path: Path) -> list[int]:
    text = path.read_text()
    return [int(line) for line in text[: text.rfind("\n") + 1].split()]


def _header(num_frames: int, dim: int) -> bytes:
    """What numpy writes before the values; its size does not depend on the shape."""
    buffer = io.BytesIO()
    description = {"descr": "<f4", "fortran_order": False, "shape": (num_frames, dim)}
    np.lib.format.write_array_header_1_0(buffer, description)
    return buffer.getvalue()
