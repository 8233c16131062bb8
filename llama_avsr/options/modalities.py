"""What each value of --modality means."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Modality:
    task: str
    """The task where --task is left out."""
    media: tuple[str, ...]
    """What its clips bring: "audio", "video"."""


MODALITIES = {
    "audio": Modality(task="asr", media=("audio",)),
    "video": Modality(task="vsr", media=("video",)),
    "audiovisual": Modality(task="avsr", media=("audio", "video")),
    "audiovisual_avhubert": Modality(task="avsr", media=("audio", "video")),
}
