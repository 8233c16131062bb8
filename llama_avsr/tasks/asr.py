"""Automatic speech recognition: sound to text."""

from dataclasses import dataclass

from llama_avsr.tasks import AUDIO, Prompt, Task


@dataclass(frozen=True, kw_only=True)
class Options:
    """Task asr"""

    prompt_audio: str = "Transcribe speech to text."
    """Instruction between speech and transcript, with --modality audio."""


TASK = Task(streams={"audio": (AUDIO,)}, layout=lambda prompt_audio: Prompt(prompt_audio))
