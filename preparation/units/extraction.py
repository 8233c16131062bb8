"""Features for visual units: the raw output of one AV-HuBERT layer for every clip of a label file.

Letters: B clips, T frames (25 Hz), D feature width.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

import av_hubert
from datamodules.batch import Padded, Utterance
from datamodules.media import MediaError, load_video
from datamodules.seeding import generator
from datamodules.transforms import VideoTransform
from preparation.units import shards
from preparation.units.shards import UTTERANCES_PER_PIECE, Settings, ShardWriter

log = logging.getLogger(__name__)

MAX_FRAMES = 1500
"""Video frames of a batch, padding included: a minute."""
LAUNCHERS = (("RANK", "WORLD_SIZE"), ("SLURM_PROCID", "SLURM_STEP_NUM_TASKS"))
LOCAL_RANKS = ("LOCAL_RANK", "SLURM_LOCALID")


@dataclass(frozen=True)
class Extracted:
    """What became of one shard."""

    path: Path
    num_utterances: int
    num_frames: int
    was_there: bool
    num_other_lengths: int
    """Clips that have fewer frames than their label says."""


def launched_shard(rank: int | None, nshard: int | None) -> tuple[int, int]:
    """(rank, nshard) as given, or those of this process under torchrun or srun, or (0, 1).

    Raises ValueError for one without the other, or a rank that does not exist.
    """
    if (rank is None) != (nshard is None):
        raise ValueError("--rank and --nshard go together: give both, or neither")
    if rank is None or nshard is None:
        rank, nshard = 0, 1
        for names in LAUNCHERS:
            if all(name in os.environ for name in names):
                rank, nshard = (int(os.environ[name]) for name in names)
                break
    if not 0 <= rank < nshard:
        raise ValueError(f"--rank {rank} --nshard {nshard}: expected a rank from 0 to nshard - 1")
    return rank, nshard


def default_device() -> torch.device:
    """This process's GPU, or the CPU where there is none."""
    if not torch.cuda.is_available():
        return torch.device("cpu")
    local = next((int(os.environ[name]) for name in LOCAL_RANKS if name in os.environ), 0)
    return torch.device("cuda", local % torch.cuda.device_count())


def extract_shard(
    model: av_hubert.AVHubert,
    utterances: Sequence[Utterance],
    folder: Path,
    *,
    split: str,
    layer: int,
    audio: str = "silent",
    rank: int = 0,
    nshard: int = 1,
    max_frames: int = MAX_FRAMES,
    num_workers: int = 0,
    overwrite: bool = False,
    show_progress: bool = True,
) -> Extracted:
    """Write one shard of the features of `utterances` (all of the label file) into `folder`.

    A shard that already exists is recognised, one that was interrupted is continued. Features are float32,
    of the centre crop, in eval mode, on the model's device. Batches hold up to `max_frames` frames.

    Raises:
        MediaError: a clip cannot be read. What is done so far is kept.
        ValueError: no such layer, or a shard of other settings is in the way (and not `overwrite`).
    """
    if audio not in shards.AUDIO_MODES:
        raise ValueError(f"audio: found {audio!r}, expected {' or '.join(shards.AUDIO_MODES)}")
    if not 0 <= layer <= model.num_layers:
        raise ValueError(f"--layer: found {layer}, this encoder has layers 0 to {model.num_layers}")
    mine = shards.share_of(utterances, rank, nshard)
    settings = Settings(
        split=split,
        rank=rank,
        nshard=nshard,
        encoder=shards.fingerprint_of_weights(model),
        layer=layer,
        audio=audio,
        dim=model.dim,
        utterances=shards.fingerprint_of_utterances(mine),
    )
    if overwrite:
        shards.remove(folder, settings.name)
    writer = ShardWriter(folder, settings)
    was_there = writer.is_finished
    if not was_there:
        _extract(model, mine, writer, max_frames, num_workers, show_progress)
        writer.finish()
    other = sum(length != u.num_frames for length, u in zip(writer.lengths, mine, strict=True))
    return Extracted(writer.path, len(mine), sum(writer.lengths), was_there, other)


def _extract(
    model: av_hubert.AVHubert,
    utterances: Sequence[Utterance],
    writer: ShardWriter,
    max_frames: int,
    num_workers: int,
    show_progress: bool,
) -> None:
    pieces = list(_pieces(utterances, writer.num_done, max_frames))
    batches = iter(_loader(utterances, [batch for piece in pieces for batch in piece], num_workers))
    with (
        tqdm(
            total=len(utterances),
            initial=writer.num_done,
            desc=writer.settings.name,
            unit="clip",
            mininterval=0.1 if sys.stderr.isatty() else 10.0,
            disable=not show_progress,
        ) as bar,
        _exact_float32(),
    ):
        for piece in pieces:
            features: dict[int, np.ndarray] = {}
            for batch in piece:
                found = extract_batch(
                    model, _readable(next(batches)), writer.settings.layer, writer.settings.audio
                )
                features.update(zip(batch, found, strict=True))
                bar.update(len(batch))
            writer.append([features[index] for index in sorted(features)])


@torch.inference_mode()
def extract_batch(
    model: av_hubert.AVHubert, video: Padded, layer: int, audio: str = "silent"
) -> list[np.ndarray]:
    """Raw output of layer k for each clip: B arrays [T_i, D] float32. video: [B, T, 88, 88] normalised."""
    device = next(model.parameters()).device
    padding_mask = None if bool((video.lengths == video.values.shape[1]).all()) else ~video.to(device).mask
    silence = None
    if audio == "silent":
        silence = torch.zeros(len(video), model.config.audio_dim, video.values.shape[1], device=device)
    values = model.eval().extract(
        video.values.to(device, non_blocking=True).unsqueeze(1), silence, padding_mask, layer
    )
    return [clip.numpy() for clip in Padded(values.float().cpu(), video.lengths).unpad()]


def _pieces(utterances: Sequence[Utterance], num_done: int, max_frames: int) -> Iterator[list[list[int]]]:
    """The utterances left to do, in pieces, each of them in batches of clips of like length."""
    for start in range(num_done, len(utterances), UTTERANCES_PER_PIECE):
        piece = range(start, min(start + UTTERANCES_PER_PIECE, len(utterances)))
        batches: list[list[int]] = []
        longest = 0
        for index in sorted(piece, key=lambda index: -utterances[index].num_frames):
            if not batches or (len(batches[-1]) + 1) * longest > max_frames:
                batches.append([])
                longest = utterances[index].num_frames
            batches[-1].append(index)
        yield batches


class _Clips(Dataset):
    """Mouth crops as the network takes them; for one that cannot be read, what is wrong with it."""

    def __init__(self, utterances: Sequence[Utterance]) -> None:
        self.utterances = utterances
        self.transform = VideoTransform(train=False)

    def __len__(self) -> int:
        return len(self.utterances)

    def __getitem__(self, index: int) -> torch.Tensor | str:
        utterance = self.utterances[index]
        try:
            return self.transform(load_video(utterance.video_path, utterance.num_frames), generator(0))
        except MediaError as error:
            return f"{utterance.source}: {error}"


def _collated(clips: list[torch.Tensor | str]) -> Padded | str:
    problem = next((clip for clip in clips if isinstance(clip, str)), None)
    return Padded.from_list(clips) if problem is None else problem


def _readable(batch: Padded | str) -> Padded:
    if isinstance(batch, str):
        raise MediaError(f"{batch}; fix it and run the command again, which continues where it stopped")
    return batch


def _loader(utterances: Sequence[Utterance], batches: list[list[int]], num_workers: int) -> DataLoader:
    return DataLoader(
        _Clips(utterances),
        batch_sampler=batches,
        collate_fn=_collated,
        num_workers=min(num_workers, len(batches)),
        worker_init_fn=_start_worker,
    )


def _start_worker(_: int) -> None:
    torch.set_num_threads(1)


@contextmanager
def _exact_float32() -> Iterator[None]:
    """Convolutions and products without TensorFloat-32: ten bits of mantissa would move units."""
    convolutions, products = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = convolutions, products
