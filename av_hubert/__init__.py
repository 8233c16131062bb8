"""AV-HuBERT: the network, its checkpoint reader and its filterbanks. Imports nothing of the project's.

    model = av_hubert.load_checkpoint("large_vox_iter5.pt")
    features = model.extract(video=video, audio=audio, padding_mask=padding_mask)  # [B, T, D]

Names resolve on first use: a loader's worker that wants filterbanks pays for nothing else.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from av_hubert import filterbanks
    from av_hubert.checkpoint import load_checkpoint, save_pretrained
    from av_hubert.config import AVHubertConfig
    from av_hubert.model import AVHubert

__all__ = ["AVHubert", "AVHubertConfig", "filterbanks", "load_checkpoint", "save_pretrained"]

_HOMES = {
    "AVHubert": "av_hubert.model",
    "AVHubertConfig": "av_hubert.config",
    "load_checkpoint": "av_hubert.checkpoint",
    "save_pretrained": "av_hubert.checkpoint",
}


def __getattr__(name: str) -> object:
    if name == "filterbanks":
        return importlib.import_module("av_hubert.filterbanks")
    if name not in _HOMES:
        raise AttributeError(f"module 'av_hubert' has no attribute {name!r}; it has {', '.join(__all__)}")
    return getattr(importlib.import_module(_HOMES[name]), name)
