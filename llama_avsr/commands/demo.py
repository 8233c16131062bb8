"""Train and evaluate on a synthetic corpus made on the spot: recognition, or with translation as VSP-LLM."""

from __future__ import annotations

import importlib

DEMOS = ("recognition", "translation")
"""The first is meant where none is named."""


def main(argv: list[str]) -> None:
    name, flags = (argv[0], argv[1:]) if argv and argv[0] in DEMOS else (DEMOS[0], argv)
    importlib.import_module(f"llama_avsr.demo.{name}").main(flags)  # heavy
