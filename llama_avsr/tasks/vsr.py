"""Visual speech recognition: lips to text."""

from llama_avsr.tasks import VIDEO, Task

TASK = Task(prompt="prompt_video", streams={"video": (VIDEO,)})
