"""Automatic speech recognition: sound to text."""

from llama_avsr.tasks import AUDIO, Task

TASK = Task(prompt="prompt_audio", streams={"audio": (AUDIO,)})
