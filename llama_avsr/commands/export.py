"""Export the adapters or the merged LLM of a checkpoint."""

from __future__ import annotations


def main(argv: list[str]) -> None:
    from llama_avsr.checkpoints.export import main as export  # heavy

    export(argv)
