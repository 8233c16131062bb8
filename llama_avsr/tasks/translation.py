"""Recognition and translation by instruction, as VSP-LLM: `BOS instruction <speech> BOS text EOS`."""

from dataclasses import dataclass, replace

from llama_avsr.tasks import AUDIO, VIDEO, Instruction, Task


@dataclass(frozen=True, kw_only=True)
class Options:
    """Task translation"""

    instruction_recognize: str = "Recognize this speech in {spoken}. Input : "
    """Instruction before speech that is to be transcribed."""
    instruction_translate: str = "Translate this {spoken} speech to {written}. Input : "
    """Instruction before speech that is to be translated."""


TASK = Task(
    tokens=(),
    streams={
        "audio": (replace(AUDIO, markers=None),),
        "video": (replace(VIDEO, markers=None),),
        "audiovisual": (replace(AUDIO, markers=None), replace(VIDEO, markers=None)),
    },
    layout=lambda instruction_recognize, instruction_translate: Instruction(
        instruction_recognize, instruction_translate
    ),
    translates=True,
    # The original pads with it, and so never learnt it.
    learns_unknown=False,
)
