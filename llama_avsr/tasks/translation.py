"""Recognition and translation by instruction, as VSP-LLM: `BOS instruction <speech> BOS text EOS`."""

from dataclasses import replace

from llama_avsr.tasks import AUDIO, VIDEO, Task

TASK = Task(
    prompt=None,
    tokens=(),
    streams={
        "audio": (replace(AUDIO, markers=None),),
        "video": (replace(VIDEO, markers=None),),
        "audiovisual": (replace(AUDIO, markers=None), replace(VIDEO, markers=None)),
    },
)
