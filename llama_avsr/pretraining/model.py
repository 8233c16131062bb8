"""An AV-HuBERT that learns to read lips. Letters: B clips, T frames (25 Hz), C width."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn

from av_hubert import AVHubert
from datamodules.batch import Batch, Padded
from llama_avsr.model.loss import Loss
from llama_avsr.pretraining.targets import Score


class LipReader(nn.Module):
    """An encoder with a head for each target; the heads are thrown away in the end.

    targets: by name. The loss is the sum of theirs, each the mean of a clip, summed over clips.
    """

    def __init__(self, encoder: AVHubert, targets: Mapping[str, nn.Module]) -> None:
        super().__init__()
        self.encoder = encoder
        self.targets = nn.ModuleDict(targets)
        self.encoders_wait = False
        for module in encoder.modules():
            if isinstance(module, nn.Conv2d):
                # Twice as fast for few channels.
                module.to(memory_format=torch.channels_last)

    def encode(self, video: Padded) -> Padded:
        """[B, T, 88, 88] -> [B, T, C]."""
        return Padded(self.encoder(video=video.values.unsqueeze(1), padding_mask=~video.mask), video.lengths)

    def loss(self, batch: Batch) -> Loss:
        return self.total(batch, self.scores(batch))

    def scores(self, batch: Batch) -> dict[str, Score]:
        frames = self.encode(batch.inputs["video"])
        return {name: target(frames, batch.utterances) for name, target in self.targets.items()}

    def total(self, batch: Batch, scores: Mapping[str, Score]) -> Loss:
        """The sum over clips of what `scores` holds."""
        video = batch.inputs["video"]
        num_frames = int(video.lengths.sum())
        return Loss(
            cross_entropy=torch.stack([score.losses.sum() for score in scores.values()]).sum(),
            weight=len(batch),
            num_tokens=sum(score.total for score in scores.values()),
            correct=torch.stack([score.correct.float() for score in scores.values()]).sum(),
            added={},
            num_speech_tokens=num_frames,
            num_positions=num_frames,
            num_padded=video.values.shape[0] * video.values.shape[1],
        )
