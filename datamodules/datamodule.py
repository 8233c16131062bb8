"""Lightning's view of the data: which label file, in which batches, on which rank."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor

from datamodules import formats
from datamodules.batch import Batch, TextIds, Utterance
from datamodules.damage import DAMAGES
from datamodules.dataset import MEDIA, ClipDataset
from datamodules.defaults import CLEAN_SNR_DB, SEED, TRAIN_NUM_BUCKETS, TRAINING_SNRS_DB
from datamodules.directions import of_directions
from datamodules.languages import Direction
from datamodules.loader import MAX_BROKEN_SHARE, ClipLoader
from datamodules.noise_sources import NoiseSource, noise_of
from datamodules.sampler import BucketBatchSampler, EvalBatchSampler
from datamodules.table import Utterances
from datamodules.transforms import AudioTransform, VideoTransform

log = logging.getLogger(__name__)

SPLITS_OF_STAGE = {"fit": ("train", "val"), "validate": ("val",), "test": ("test",)}


class DataModule(pl.LightningDataModule):
    """Training, validation and test clips of one data set.

    The trainer must be made with `use_distributed_sampler=False`: the samplers share the batches themselves.

    root_dir: the data set's root; label files are paths, or names below `root_dir/labels`.
    media: which of "audio" and "video" the model takes.
    encode_text, prepare_audio: see ClipDataset; picklable, they run in the workers. They may be set later,
        but before the first loader is made.
    max_frames: video frames (25 Hz) a batch may hold, padding counted. Longer clips are left out of training
        and get a batch of their own in evaluation.
    eval_max_frames: the same for validation and test; default max_frames.
    max_clips, eval_max_clips: the most clips of a batch; None leaves that to the frames.
    needs_units: refuse label files that do not bring the clips' units.
    directions: test only clips of these. A label file that names no languages takes the only one given.
    noise: babble or any other sound file, a folder, or a kind of `noise_source`; of several one is drawn for
        each clip. Without any, training is on clean sound.
    train_snrs_db: signal-to-noise ratios one is drawn of for each training clip (999999 is clean).
    decode_snr_db: the test set's; validation is clean.
    test_noise: what the test set is mixed with in place of that.
    test_damage: what is done to the test set's pictures, a name of `DAMAGES`.
    video_augmentation: "time_mask", "flip" or "none", in training.
    augmentation_draws: a training clip is drawn (crop, masks, noise) so many times, and then as the first
        time again; None draws it anew in every epoch.
    limit: keep only the first so many clips of each label file.
    format_options: options of the label formats, by their names; see `formats.read`.
    """

    allow_zero_length_dataloader_with_multiple_devices = True  # fewer test clips than ranks is no error

    def __init__(
        self,
        root_dir: Path | str,
        *,
        media: Sequence[str],
        encode_text: Callable[[Utterance], TextIds] | None = None,
        prepare_audio: Callable[[Tensor], Tensor] | None = None,
        train_file: Path | str | None = None,
        val_file: Path | str | None = None,
        test_file: Path | str | None = None,
        max_frames: int,
        eval_max_frames: int | None = None,
        max_clips: int | None = None,
        eval_max_clips: int | None = None,
        directions: Sequence[Direction] = (),
        needs_units: bool = False,
        train_num_buckets: int = TRAIN_NUM_BUCKETS,
        num_workers: int = 0,
        prefetch_factor: int = 2,
        pin_memory: bool = False,
        seed: int = SEED,
        noise: Sequence[str] = (),
        train_snrs_db: Sequence[float] = TRAINING_SNRS_DB,
        decode_snr_db: float = CLEAN_SNR_DB,
        test_noise: str | None = None,
        test_damage: str = "none",
        video_augmentation: str = "time_mask",
        augmentation_draws: int | None = None,
        limit: int | None = None,
        format_options: Mapping[str, Mapping[str, Any]] = MappingProxyType({}),
    ) -> None:
        super().__init__()
        if not media or set(media) - set(MEDIA):
            raise ValueError(f"expected media out of {', '.join(MEDIA)}, found {list(media)}")
        if "audio" in media and decode_snr_db < CLEAN_SNR_DB and not noise and test_noise is None:
            raise ValueError(f"an SNR of {decode_snr_db:g} dB needs a noise file, none was given")
        self.root_dir = Path(root_dir)
        self.media = tuple(media)
        self.encode_text = encode_text
        self.prepare_audio = prepare_audio
        self.files = {"train": train_file, "val": val_file, "test": test_file}
        self.max_frames = max_frames
        self.eval_max_frames = eval_max_frames or max_frames
        self.max_clips = max_clips
        self.eval_max_clips = eval_max_clips
        self.directions = tuple(directions)
        self.needs_units = needs_units
        self.train_num_buckets = train_num_buckets
        self.num_workers = num_workers
        self.prefetch_factor = prefetch_factor
        self.pin_memory = pin_memory
        self.seed = seed
        self.noise = tuple(noise)
        self.train_snrs_db = tuple(train_snrs_db)
        self.decode_snr_db = decode_snr_db
        self.test_noise = test_noise
        self.test_damage = DAMAGES[test_damage]
        self.video_augmentation = video_augmentation
        self.augmentation_draws = augmentation_draws
        self.limit = limit
        self.format_options = format_options
        self.utterances: dict[str, Sequence[Utterance]] = {}
        self._noises: dict[str, NoiseSource | None] = {}
        self._train_sampler: BucketBatchSampler | None = None
        self.augments = True
        """Whether training clips are masked, cropped and mixed with noise at random."""

    def setup(self, stage: str) -> None:
        """Read the label files of a stage ("fit", "validate" or "test") and check that their media exist.

        Raises:
            ValueError: a label file is missing, broken, or names media that are not there; or the noise file
                cannot be read.
        """
        for split in SPLITS_OF_STAGE[stage]:
            if split not in self.utterances and self.files[split] is not None:
                self.utterances[split] = self._read(split)
        split = SPLITS_OF_STAGE[stage][0]
        if split != "val" and split not in self._noises and "audio" in self.media:
            kinds = self.noise if split == "train" or self.test_noise is None else (self.test_noise,)
            self._noises[split] = noise_of(kinds, self.utterances.get(split, ()))

    def _read(self, split: str) -> Sequence[Utterance]:
        path = formats.find(self.files[split], self.root_dir)
        utterances = formats.read(path, self.root_dir, self.media, self.format_options)[: self.limit]
        if self.needs_units and not utterances.have_units:
            raise ValueError(
                f"{path}: found no units of its clips, which --compression-mode units merges; expected "
                f"{path.with_suffix('.cluster_counts').name} beside a .tsv (prepare_data.py units), or "
                "--units-centroids to find them on the fly"
            )
        if split == "test" and self.directions:
            return of_directions(utterances, self.directions, path)
        return self._fit_to_train(path, utterances) if split == "train" else utterances

    def _fit_to_train(self, path: Path, utterances: Utterances) -> Utterances:
        """The clips with a text and short enough; what is left out is counted in a warning."""
        with_text = utterances[utterances.has_text]
        if not with_text:
            raise ValueError(f"{path}: none of the {len(utterances)} clips has a text to learn from")
        if len(with_text) < len(utterances):
            log.warning(
                "%s: skipped %d of %d clips, their text is empty",
                path,
                len(utterances) - len(with_text),
                len(utterances),
            )
        kept = with_text[with_text.num_frames <= self.max_frames]
        if not kept:
            raise ValueError(
                f"{path}: all {len(with_text)} clips are longer than a batch of {self.max_frames} frames; "
                "raise --max-frames-audio, -video or -audiovisual"
            )
        if len(kept) < len(with_text):
            log.warning(
                "%s: skipped %d of %d clips, longer than the %d frames of a batch",
                path,
                len(with_text) - len(kept),
                len(with_text),
                self.max_frames,
            )
        return kept

    def train_batches_per_epoch(self) -> int:
        """Of one rank, known without making the loader."""
        return len(self._make_train_sampler())

    def _make_train_sampler(self) -> BucketBatchSampler:
        lengths = self._loaded("train").num_frames.tolist()
        rank, world_size = self._rank_and_world_size()
        return BucketBatchSampler(
            lengths,
            self.max_frames,
            self.train_num_buckets,
            self.seed,
            rank,
            world_size,
            max_clips=self.max_clips,
        )

    def train_dataloader(self) -> ClipLoader:
        sampler = self._make_train_sampler()
        self._train_sampler = sampler
        return ClipLoader(
            self._dataset("train", self.train_snrs_db if self._noise_in_training else (CLEAN_SNR_DB,)),
            sampler,
            num_broken_allowed=max(
                1, int(MAX_BROKEN_SHARE * len(self._loaded("train")) / sampler.world_size)
            ),
            num_workers=self.num_workers,
            prefetch_factor=self.prefetch_factor,
            pin_memory=self.pin_memory,
            persistent_workers=True,
            position=self.trainer and partial(position, self.trainer, len(sampler)),
        )

    @property
    def _noise_in_training(self) -> bool:
        return self.augments and self._noises.get("train") is not None

    def val_dataloader(self) -> ClipLoader | list:
        # An empty list is Lightning's word for no validation.
        if self.files["val"] is None:
            return []
        self._check_ranks("val")
        return self._eval_loader("val", CLEAN_SNR_DB)

    def test_dataloader(self) -> ClipLoader:
        return self._eval_loader("test", self.decode_snr_db)

    def transfer_batch_to_device(self, batch: Batch, device: torch.device, dataloader_idx: int) -> Batch:
        """Pinned memory moves while the device computes."""
        return batch.to(device, non_blocking=True)

    def set_epoch(self, epoch: int) -> None:
        """Choose the training epoch by hand; under a trainer it follows from what was trained on."""
        if self._train_sampler is not None:
            self._train_sampler.set_epoch(epoch)

    def _check_ranks(self, split: str) -> None:
        # Lightning skips a rank without batches, and the others would wait for its sums.
        _, world_size = self._rank_and_world_size()
        if len(self._loaded(split)) < world_size:
            raise ValueError(
                f"{self.files[split]}: found {len(self._loaded(split))} clips for {world_size} processes; "
                "validation needs at least one for each"
            )

    def _eval_loader(self, split: str, snr_db: float) -> ClipLoader:
        lengths = self._loaded(split).num_frames.tolist()
        return ClipLoader(
            self._dataset(split, (snr_db,)),
            EvalBatchSampler(
                lengths, self.eval_max_frames, *self._rank_and_world_size(), max_clips=self.eval_max_clips
            ),
            num_workers=self.num_workers,
            prefetch_factor=self.prefetch_factor,
            pin_memory=self.pin_memory,
        )

    def _dataset(self, split: str, snrs_db: Sequence[float]) -> ClipDataset:
        train = split == "train" and self.augments
        damage = self.test_damage if split == "test" else DAMAGES["none"]
        return ClipDataset(
            self._loaded(split),
            self.media,
            self.encode_text,
            VideoTransform(train, self.video_augmentation),
            AudioTransform(
                train, self._noises.get(split), snrs_db if "audio" in self.media else (CLEAN_SNR_DB,), damage
            ),
            self.prepare_audio,
            self.seed,
            self.augmentation_draws,
            damage,
        )

    def _loaded(self, split: str) -> Utterances:
        if split not in self.utterances:
            raise ValueError(
                f"no {split} clips: expected a {split} label file, and setup() before the loader"
            )
        return Utterances.of(self.utterances[split])

    def _rank_and_world_size(self) -> tuple[int, int]:
        return (self.trainer.global_rank, self.trainer.world_size) if self.trainer is not None else (0, 1)


def position(trainer: pl.Trainer, num_batches: int) -> tuple[int, int]:
    """(epoch, batch) that training goes on with: asked as an epoch's first batch is fetched.

    `num_batches` are the loader's. The epoch follows from the number of batches ever trained on; Lightning's
    own number is one too high after resuming from the end of an epoch with `max_steps`.
    """
    limit = trainer.limit_train_batches
    num_batches = min(num_batches, limit) if isinstance(limit, int) else int(num_batches * limit)
    progress = trainer.fit_loop.epoch_loop.batch_progress
    start = progress.current.processed
    if start >= num_batches:  # the checkpoint's epochs had more batches than these
        start = 0
    return math.ceil((progress.total.processed - start) / max(1, num_batches)), start
