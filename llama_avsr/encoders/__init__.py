"""Speech encoders, one file each; a file placed here is an encoder of the project.

A module of this folder offers

    MEDIA: tuple[str, ...]          what it can be fed: "audio", "video"
    MODEL_TYPES: tuple[str, ...]    the `model_type` of the Hugging Face configs it serves; without any it is
                                    chosen by its own name: `--audio-encoder-name NAME[:WEIGHTS]`
    load(name, dtype, **own options) -> nn.Module that is an Encoder
        name: what stands after the colon, a hub name, or a folder; empty where the user gave none
    tiny(folder) -> str             writes a tiny random instance for the contract tests; returns its `name`

and, where it has options of its own, a dataclass `Options` with their declarations. `load` passes what it has
read from files through `llama_avsr.provenance.pretrained`: everything else is trained and saved.
Letters: B batch, T frames, C encoder width.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from torch import Tensor

from datamodules.batch import Padded


class Encoder(Protocol):
    """Frames of speech features from prepared media."""

    dim: int
    """C."""
    frame_rate_hz: float
    max_seconds: float | None
    """The longest clip it takes; None where there is no limit."""
    prepare_audio: Callable[[Tensor], Tensor]
    """Waveform [N] (16 kHz) -> what `__call__` takes as audio of one clip; runs in the loader's workers."""

    def __call__(self, *, audio: Padded | None = None, video: Padded | None = None) -> Padded:
        """Encode a batch. Returns [B, T, C]; a clip alone and in a padded batch gives the same frames."""
        ...
