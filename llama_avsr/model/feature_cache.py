"""Frames of frozen encoders, kept on disk by what went into them.

Letters: B clips, T frames, C encoder width.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from datamodules.batch import Padded

LOGGER = logging.getLogger(__name__)
FORMAT = 1
FRAMES = "frames"


class FeatureCache:
    """Encodes clips that it has not seen, and remembers the others.

    A clip is known by the bytes that the encoder is given (after crop, masks and noise) and by the encoder's
    weights and settings, so that what is found is what would be computed, but for the rounding of another
    batch. Processes may share a folder. What is damaged there is computed anew; where it cannot be written
    to, nothing is kept.
    """

    def __init__(self, folder: Path, settings: str = "") -> None:
        """settings: whatever, besides weights and inputs, the frames depend on."""
        self.folder = Path(folder)
        self.settings = settings
        self.found = self.computed = 0
        """Clips so far."""
        self._encoders: dict[nn.Module, bytes] = {}
        self._writes = True

    def __call__(self, encoder: nn.Module, **media: Padded) -> Padded:
        """encoder(**media), [B, T, C], without gradients. encoder: frozen, in eval mode."""
        keys = self._keys(encoder, media)
        frames = [self._read(key) for key in keys]
        missing = [place for place, known in enumerate(frames) if known is None]
        self.found += len(keys) - len(missing)
        self.computed += len(missing)
        if missing:
            with torch.no_grad():
                new = encoder(**{name: _chosen(padded, missing) for name, padded in media.items()})
            for place, computed in zip(missing, new.unpad(), strict=True):
                frames[place] = computed
                self._write(keys[place], computed)
        device = next(iter(media.values())).values.device
        return Padded.from_list([known.to(device, non_blocking=True) for known in frames])

    def _keys(self, encoder: nn.Module, media: dict[str, Padded]) -> list[str]:
        if encoder not in self._encoders:
            self._encoders[encoder] = _fingerprint(encoder, self.settings)
        fingerprint, num_clips = self._encoders[encoder], len(next(iter(media.values())))
        digests = [hashlib.blake2b(fingerprint, digest_size=20) for _ in range(num_clips)]
        for name, padded in sorted(media.items()):
            for digest, clip in zip(digests, padded.unpad(), strict=True):
                digest.update(f"{name} {list(clip.shape)} {clip.dtype}".encode())
                digest.update(_bytes(clip))
        return [digest.hexdigest() for digest in digests]

    def _path(self, key: str) -> Path:
        return self.folder / key[:2] / f"{key[2:]}.safetensors"

    def _read(self, key: str) -> Tensor | None:
        path = self._path(key)
        try:
            return load_file(path)[FRAMES] if path.is_file() else None
        except (SafetensorError, KeyError, OSError) as error:
            LOGGER.debug("%s: damaged (%s), computed anew", path, error)
            return None

    def _write(self, key: str, frames: Tensor) -> None:
        if not self._writes:
            return
        path = self._path(key)
        temporary = path.with_suffix(f".{os.getpid()}")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            save_file({FRAMES: frames.detach().cpu().contiguous()}, temporary)
            os.replace(temporary, path)
        except (OSError, SafetensorError) as error:
            self._writes = False
            LOGGER.warning(
                "--feature-cache %s cannot be written to (%s); frames are not kept", self.folder, error
            )
            with contextlib.suppress(OSError):
                temporary.unlink()


def _chosen(padded: Padded, places: list[int]) -> Padded:
    lengths = padded.lengths[places]
    return Padded(padded.values[places, : int(lengths.max())], lengths)


def _fingerprint(encoder: nn.Module, settings: str) -> bytes:
    digest = hashlib.blake2b(f"{FORMAT} {type(encoder).__qualname__} {settings}".encode(), digest_size=20)
    for name, tensor in encoder.state_dict().items():
        digest.update(f"{name} {list(tensor.shape)} {tensor.dtype}".encode())
        digest.update(_bytes(tensor))
    return digest.digest()


def _bytes(tensor: Tensor) -> bytes:
    plain = tensor.detach().cpu().contiguous().reshape(-1)
    return plain.view(torch.uint8).numpy().tobytes() if plain.numel() else b""
