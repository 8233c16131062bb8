"""Audio-visual speech recognition: sound and lips to text."""

from dataclasses import dataclass, replace

from llama_avsr.tasks import AUDIO, EAR_AND_EYE, VIDEO, Prompt, Stream, Task


@dataclass(frozen=True, kw_only=True)
class Options:
    """Task avsr"""

    prompt_audiovisual: str = "Transcribe speech and video to text."
    """Instruction between speech and transcript, with sound and lips."""


BOTH = Stream(
    name="audiovisual",
    media=("audio", "video"),
    slot=EAR_AND_EYE,
    ratio="downsample_ratio_audiovisual",
    ratios="downsample_ratios_audiovisual",
    markers=None,
)

TASK = Task(
    streams={
        "audiovisual": (AUDIO, VIDEO),
        # One AV-HuBERT hears and sees, each medium with a projector of its own ...
        "audiovisual_avhubert": (replace(AUDIO, slot=EAR_AND_EYE), replace(VIDEO, slot=EAR_AND_EYE)),
    },
    # ... or both at once.
    joint={"audiovisual_avhubert": (BOTH,)},
    layout=lambda prompt_audiovisual: Prompt(prompt_audiovisual),
)
