"""Sound and lips joined into one stream, as MMS-LLaMA: `BOS instruction <speech> BOS text EOS`."""

from dataclasses import dataclass

from llama_avsr.tasks import AUDIO, EAR, VIDEO, Instruction, Stream, Task


@dataclass(frozen=True, kw_only=True)
class Options:
    """Task fused"""

    instruction_fused: str = "Recognize this speech in {spoken}. Input : "
    """Instruction before speech that is to be transcribed, of sound and lips in one."""
    instruction_fused_translate: str = "Translate this {spoken} speech to {written}. Input : "
    """Instruction before such speech that is to be translated."""


FUSED = Stream(
    name="audiovisual",
    media=("audio", "video"),
    slot=EAR,
    ratio="downsample_ratio_audiovisual",
    ratios="downsample_ratios_audiovisual",
    markers=None,
    fuses=(AUDIO, VIDEO),
)

TASK = Task(
    tokens=(),
    streams={"audiovisual": (FUSED,)},
    layout=lambda instruction_fused, instruction_fused_translate: Instruction(
        instruction_fused, instruction_fused_translate
    ),
    translates=True,
)
