"""Convert a published checkpoint to one of this project."""

from __future__ import annotations


def main(argv: list[str]) -> None:
    from llama_avsr.checkpoints.released.__main__ import main as released  # heavy

    asks = argv[:1] in ([], ["-h"], ["--help"])
    released(argv if asks else ["convert", *argv])
