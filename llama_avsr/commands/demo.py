"""Train and evaluate on a synthetic corpus made on the spot (recognition, with translation as VSP-LLM, or one
elastic model for all tasks), or on GRID, a free corpus of real people."""

from __future__ import annotations

import importlib

from llama_avsr.boundary import program_called

DEMOS = ("recognition", "translation", "omni", "real")
"""The first is meant where none is named."""


def main(argv: list[str]) -> None:
    named = argv[:1] if argv[:1] and argv[0] in DEMOS else []
    called = " ".join((program_called(), *named))
    module = importlib.import_module(f"llama_avsr.demo.{named[0] if named else DEMOS[0]}")  # heavy
    module.main(argv[len(named) :], called)
