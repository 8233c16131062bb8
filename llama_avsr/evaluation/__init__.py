"""Evaluation: decoding test sets, scores, reports, plots."""
