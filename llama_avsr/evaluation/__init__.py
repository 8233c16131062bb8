"""Evaluation: decoding test sets, scores, reports, plots."""

from llama_avsr import _moved

_moved.forward(__name__)
