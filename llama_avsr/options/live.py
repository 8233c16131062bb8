"""Options of live captions."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from llama_avsr.options.fields import group, option
from llama_avsr.options.transcribing import TRANSCRIBING
from llama_avsr.options.values import NonNegativeFloat, PositiveFloat, PositiveInt, Probability


def _is_live(options: object) -> bool:
    return options.captions.live


@group(programs=TRANSCRIBING, when=_is_live)
class LiveOptions:
    """Live captions"""

    live: bool = option(False, when=None)
    """Write down words while they are spoken: what camera and microphone give, or one file, which is played
    at its own speed. Ctrl-C ends it."""
    camera: str | None = None
    """Camera for --live: its name or device file, or off. Default: the machine's first."""
    microphone: str | None = None
    """Microphone for --live: its name, or off. Default: the machine's own choice."""
    live_step: PositiveFloat = 0.32
    """Seconds of new speech from one pass of the model to the next."""
    live_context: tuple[NonNegativeFloat, NonNegativeFloat] = (3.0, 2.0)
    """Seconds of speech that encoders are given before what is new, and that must follow a frame before it
    counts as final and is not encoded again. Shorter is cheaper; encoders that look far need more."""
    live_agreement: PositiveInt = 3
    """Passes that must write a word alike before it is fixed."""
    live_probability: Probability = 0.95
    """The least probability, to the model itself, of a word that is fixed while speech goes on."""
    live_log: Path | None = None
    """File for every word with its delays (JSON, one a line), and a summary as the last line."""
    live_clock: Literal["real", "simulated"] = "real"
    """For a file: real plays it at its own speed; simulated does not wait, and counts the CPU time of the
    work as time that passes."""
