"""What decodings took, in the words of all tables: speed, time of devices, memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

EFFORT = ("RTF", "device s", "GiB")
"""Real-time factor (seconds of decoding per second of speech), seconds of all GPUs (or machines without one)
together, peak memory of the fullest process."""


@dataclass(frozen=True, kw_only=True)
class Effort:
    """Of one decoding, or of several together."""

    speech_seconds: float
    decode_seconds: float
    device_seconds: float
    peak_memory_gib: float | None

    @property
    def real_time_factor(self) -> float | None:
        """Under 1 is faster than real time. None without speech."""
        return self.decode_seconds / self.speech_seconds if self.speech_seconds else None

    def cells(self) -> list[str]:
        """For a table with the columns `EFFORT`."""
        factor, memory = self.real_time_factor, self.peak_memory_gib
        return [
            "-" if factor is None else f"{factor:.3g}",
            f"{self.device_seconds:.1f}",
            "-" if memory is None else f"{memory:.2f}",
        ]


def together(efforts: Sequence[Effort]) -> Effort:
    """Of several decodings, one after the other."""
    memories = [one.peak_memory_gib for one in efforts if one.peak_memory_gib is not None]
    return Effort(
        speech_seconds=sum(one.speech_seconds for one in efforts),
        decode_seconds=sum(one.decode_seconds for one in efforts),
        device_seconds=sum(one.device_seconds for one in efforts),
        peak_memory_gib=max(memories, default=None),
    )


def of_summary(summary: Mapping[str, Any]) -> Effort | None:
    """As `summary.json` says; None for results of other systems, or of earlier versions."""
    names = ("speech_hours", "decode_seconds", "device_seconds")
    if any(not isinstance(summary.get(name), int | float) for name in names):
        return None
    return Effort(
        speech_seconds=3600 * summary["speech_hours"],
        decode_seconds=summary["decode_seconds"],
        device_seconds=summary["device_seconds"],
        peak_memory_gib=summary.get("peak_memory_gib"),
    )
