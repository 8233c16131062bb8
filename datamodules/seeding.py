"""Random numbers that depend on what they are for, and on nothing else."""

from __future__ import annotations

import hashlib

import torch


def generator(*parts: int | str) -> torch.Generator:
    """A CPU generator seeded by `parts`, such as (seed, epoch, utterance id, "video").

    The same parts give the same numbers in every process and on every machine (unlike Python's `hash`).
    """
    digest = hashlib.blake2b(repr(parts).encode(), digest_size=8).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest, "big") >> 1)


def randint(low: int, high: int, rng: torch.Generator) -> int:
    """A whole number from low to high, both included."""
    return int(torch.randint(low, high + 1, (), generator=rng))
