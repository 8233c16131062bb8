"""Visual speech recognition: lips to text."""

from dataclasses import dataclass

from llama_avsr.tasks import VIDEO, Prompt, Task


@dataclass(frozen=True, kw_only=True)
class Options:
    """Task vsr"""

    prompt_video: str = "Transcribe video to text."
    """Instruction between speech and transcript, with --modality video."""


TASK = Task(streams={"video": (VIDEO,)}, layout=lambda prompt_video: Prompt(prompt_video))
