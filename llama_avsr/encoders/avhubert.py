"""AV-HuBERT (Shi et al., 2022) for video, sound, or both.

Letters: B batch, T frames at 25 Hz, C encoder width.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import torch
from torch import Tensor, nn

import av_hubert
from av_hubert import filterbanks
from datamodules.batch import VIDEO_FPS, Padded

MODEL_TYPES = ("av_hubert",)


class AVHubertEncoder(nn.Module):
    """Encodes 88x88 mouth frames, stacked filterbanks, or both frame by frame."""

    frame_rate_hz = float(VIDEO_FPS)
    max_seconds = None
    prepare_audio = staticmethod(filterbanks.stacked)

    def __init__(self, encoder: av_hubert.AVHubert) -> None:
        super().__init__()
        self.encoder = encoder
        self.dim: int = encoder.config.dim

    def forward(self, *, audio: Padded | None = None, video: Padded | None = None) -> Padded:
        """audio: [B, T, 104], video: [B, T, 88, 88]; a missing one is treated as absent. Returns [B, T, C].

        Raises ValueError where both are given and their lengths differ.
        """
        inputs, lengths = self._inputs(audio, video)
        return Padded(self.encoder.extract(**inputs), lengths)

    def with_layer(
        self, layer: int, silent_audio: bool, *, audio: Padded | None = None, video: Padded | None = None
    ) -> tuple[Padded, Padded]:
        """What `forward` returns, and the raw output of `layer` beside it, for finding units.

        silent_audio: take that output from a pass in which a video that comes alone is joined by silence.
        """
        inputs, lengths = self._inputs(audio, video)
        final, features = self.encoder.extract_with_layer(**inputs, layer=layer, silent_audio=silent_audio)
        return Padded(final, lengths), Padded(features, lengths)

    def _inputs(self, audio: Padded | None, video: Padded | None) -> tuple[dict[str, Tensor | None], Tensor]:
        """Arguments of `AVHubert.extract`, and the lengths."""
        present = [medium for medium in (audio, video) if medium is not None]
        lengths = present[0].lengths
        if any(not torch.equal(medium.lengths, lengths) for medium in present):
            found = ", ".join(str(medium.lengths.tolist()) for medium in present)
            raise ValueError(f"AV-HuBERT needs as many frames of sound as of video, found {found}")
        mask = present[0].mask
        return {
            "video": None if video is None else self._cast(video).unsqueeze(1),
            "audio": None if audio is None else self._cast(audio).transpose(1, 2),
            "padding_mask": None if bool((lengths == mask.shape[1]).all()) else ~mask,
        }, lengths

    def _cast(self, medium: Padded) -> Tensor:
        return medium.values.to(next(self.encoder.parameters()).dtype)


def load(
    name: str,
    dtype: torch.dtype = torch.float32,
    lora: bool = False,
    regularisation: Mapping[str, float] = MappingProxyType({}),
    **_: object,
) -> AVHubertEncoder:
    """Load AV-HuBERT. name: a fairseq `.pt`, or the folder it was converted to. lora: add LoRA to q and v.
    regularisation: dropouts (`AVHubertConfig`) in place of the checkpoint's."""
    model = av_hubert.load_checkpoint(name, **regularisation)
    if lora:
        model.add_lora()
    return AVHubertEncoder(model.to(dtype))
