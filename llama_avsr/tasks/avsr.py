"""Audio-visual speech recognition: sound and lips to text."""

from dataclasses import replace

from llama_avsr.tasks import AUDIO, VIDEO, Stream, Task

BOTH = Stream(name="audiovisual", media=("audio", "video"), encoder="audiovisual", markers=None)

TASK = Task(
    prompt="prompt_audiovisual",
    streams={
        "audiovisual": (AUDIO, VIDEO),
        # One AV-HuBERT hears and sees, each medium with a projector of its own ...
        "audiovisual_avhubert": (
            replace(AUDIO, encoder="audiovisual"),
            replace(VIDEO, encoder="audiovisual"),
        ),
        # ... or both at once (--single-projector-avhubert).
        "audiovisual_avhubert_single": (BOTH,),
    },
)
