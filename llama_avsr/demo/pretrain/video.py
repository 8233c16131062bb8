"""The demo's AV-HuBERT: reads lips, hears, or both.

Letters: B clips, T frames at 25 Hz, C encoder width.
"""

from __future__ import annotations

import contextlib
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

import av_hubert
from av_hubert import AVHubert, AVHubertConfig, filterbanks
from datamodules.batch import VIDEO_FPS, Padded
from datamodules.defaults import CLEAN_SNR_DB
from datamodules.transforms import VideoTransform
from llama_avsr.demo.pretrain.clips import Clip
from llama_avsr.demo.pretrain.heads import Errors, Heads, padded_labels
from llama_avsr.demo.pretrain.sounds import Microphone, named
from llama_avsr.demo.pretrain.training import Schedule, fit, quick_products

CTC_AFTER = 0.1
"""Share of the steps before the words join in: learnt from the start they stay blank for long."""
EVALUATION_BATCH = 20
EVALUATED = (
    ("video", CLEAN_SNR_DB),
    ("audio", CLEAN_SNR_DB),
    ("audio video", CLEAN_SNR_DB),
    ("audio video", 0.0),
)


def make_av_hubert() -> AVHubert:
    """AV-HuBERT with random weights: three layers, an eighth of the published planes in the ResNet."""
    return AVHubert(
        AVHubertConfig(
            num_layers=3,
            dim=128,
            ffn_dim=512,
            num_heads=4,
            resnet_planes=(8, 16, 32, 64),
            # With so few channels a CPU spends a fifth of its time on PReLUs.
            resnet_activation="relu",
        )
    )


@dataclass(frozen=True)
class Media:
    """What B clips show and sound like."""

    video: Padded
    """[B, T, 88, 88]"""
    audio: Padded
    """[B, T, 104]"""
    labels: Tensor
    """[B, T]: the phone in the middle of each frame."""
    texts: list[str]


class Camera:
    """Turns clips into the network's inputs.

    train: random crops, gaps, varied sound; otherwise the centre, and sound at `snr_db`.
    """

    def __init__(self, microphone: Microphone, seed: int, train: bool, snr_db: float = CLEAN_SNR_DB) -> None:
        self.microphone = microphone
        self.rng = random.Random(seed)
        self.generator = torch.Generator().manual_seed(seed)
        self.train = train
        self.snr_db = snr_db

    def __call__(self, clips: Sequence[Clip]) -> Media:
        return Media(
            video=Padded.from_list([self._video(clip) for clip in clips]),
            audio=Padded.from_list([self._audio(clip) for clip in clips]),
            labels=padded_labels([frame_labels(clip) for clip in clips]),
            texts=[clip.text for clip in clips],
        )

    def _video(self, clip: Clip) -> Tensor:
        gaps = "time_mask" if self.rng.random() < 0.5 else "none"
        transform = VideoTransform(self.train, gaps)
        return transform(torch.from_numpy(np.array(clip.frames)), self.generator)

    def _audio(self, clip: Clip) -> Tensor:
        if self.train:
            sound = self.microphone.varied(clip, stretched=False)
        else:
            sound = self.microphone.plain(clip, self.snr_db)
        return filterbanks.stacked(sound.waveform, len(clip.frames))


def frame_labels(clip: Clip) -> np.ndarray:
    """The phone in the middle of each video frame [T]."""
    return clip.labels((np.arange(len(clip.frames), dtype=np.float32) + 0.5) / VIDEO_FPS)


def encode(model: AVHubert, media: Media, subsets: Sequence[str]) -> list[Padded]:
    """The features [B, T, C] of each subset of "audio video", from one pass of the front ends."""
    padding = ~media.video.mask
    fronts: dict[str, Tensor] = {}
    if any("video" in subset for subset in subsets):
        fronts["video"] = model.feature_extractor_video(media.video.values.unsqueeze(1), padding)
    if any("audio" in subset for subset in subsets):
        fronts["audio"] = model.feature_extractor_audio(media.audio.values.transpose(1, 2), padding)
    features = []
    for subset in subsets:
        given = {name: front for name, front in fronts.items() if name in subset.split()}
        fused = model.fuse(given.get("video"), given.get("audio"))
        # Small convolutions, unlike this, are slower in bfloat16; and figures are taken in full precision.
        with quick_products() if model.training else contextlib.nullcontext():
            hidden = model.encoder(fused.masked_fill(padding[:, :, None], 0), padding, None)
        features.append(Padded(hidden, media.video.lengths))
    return features


def errors(
    model: AVHubert, heads: Heads, clips: Sequence[Clip], noise: Sequence[Clip], subset: str, snr_db: float
) -> Errors:
    """How wrong the heads are about `clips` seen, heard at `snr_db` in `noise`, or both."""
    camera, counted = Camera(Microphone(noise, seed=0), seed=0, train=False, snr_db=snr_db), Errors()
    for start in range(0, len(clips), EVALUATION_BATCH):
        media = camera(clips[start : start + EVALUATION_BATCH])
        (features,) = encode(model, media, [subset])
        counted.add(heads, features, media.labels, media.texts)
    return counted


def pretrain_av_hubert(
    train: Sequence[Clip],
    held_out: Mapping[str, Sequence[Clip]],
    schedule: Schedule,
    out_dir: Path,
    *,
    seed: int,
    batch_size: int = 8,
    model: AVHubert | None = None,
) -> AVHubert:
    """Teach an AV-HuBERT phones and words by sight, by ear and by both; writes it to `out_dir` as it goes.

    held_out: clips by name ("seen", "unseen" voices), for the figures of the log alone.
    """
    torch.manual_seed(seed)
    model = make_av_hubert() if model is None else model
    heads = Heads(model.dim)
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            # Twice as fast for few channels.
            module.to(memory_format=torch.channels_last)
    rng, camera = random.Random(seed), Camera(Microphone(train, seed), seed, train=True)

    def loss_of_step(step: int) -> Tensor:
        media = camera(rng.sample(train, batch_size))
        # The lips in every step; they are the hard part. What the ears add costs little.
        subsets = ["video", rng.choice(["audio", "audio video"])]
        loss = torch.zeros(())
        for features in encode(model, media, subsets):
            loss = loss + heads.phone_loss(features, media.labels)
            if step >= CTC_AFTER * schedule.steps:
                loss = loss + heads.word_loss(features, media.texts)
        return loss

    def report(steps_done: int) -> str:
        av_hubert.save_pretrained(model, out_dir, dtype=torch.float16)
        shown = EVALUATED if steps_done == schedule.steps else EVALUATED[:1]
        return "; ".join(
            f"{name} {subset} {named(snr_db)}: {errors(model, heads, clips, train, subset, snr_db)}"
            for name, clips in held_out.items()
            for subset, snr_db in shown
        )

    fit([model, heads], loss_of_step, schedule, report)
    return model
