"""Checkpoint folders: writing, reading, averaging, export, and what others published."""
