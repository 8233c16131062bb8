"""Training: fit, average, evaluate."""

from llama_avsr import _moved

_moved.forward(__name__)
