"""Groups that several commands have."""

from __future__ import annotations

from llama_avsr.options.fields import group
from llama_avsr.options.values import PositiveInt


@group()
class WorkerOptions:
    """Running"""

    num_workers: PositiveInt | None = None
    """Number of worker processes. Default: one for each core."""
