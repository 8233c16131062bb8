"""What every task promises: its streams are complete, its prompt and its tokens exist."""

import pytest

from datamodules import registry
from llama_avsr.options import FIELDS
from llama_avsr.tasks import MARKERS

TASKS = {name: registry.load("llama_avsr.tasks", name).TASK for name in registry.names("llama_avsr.tasks")}


def test_one_task_transcribes_each_modality() -> None:
    """Without --task, the modality says which."""
    modalities = [modality for task in TASKS.values() if task.prompt for modality in task.streams]
    assert sorted(modalities) == sorted(set(modalities))
    assert {"audio", "video", "audiovisual", "audiovisual_avhubert"} <= set(modalities)


@pytest.mark.parametrize("name", TASKS)
def test_streams(name: str) -> None:
    task = TASKS[name]
    assert task.prompt is None or task.prompt in FIELDS
    for streams in task.streams.values():
        assert len({stream.name for stream in streams}) == len(streams)
        for stream in streams:
            assert set(stream.media) <= {"audio", "video"}
            assert stream.markers is None or set(stream.markers) <= set(MARKERS) & set(task.tokens)
