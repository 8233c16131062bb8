"""What every task promises: its streams are complete and its metric exists."""

import pytest

from llama_avsr import metrics, registry
from llama_avsr.tasks import MARKERS

TASKS = {name: registry.load("llama_avsr.tasks", name).TASK for name in registry.names("llama_avsr.tasks")}


def test_every_modality_has_one_task() -> None:
    modalities = [modality for task in TASKS.values() for modality in task.streams]
    assert sorted(modalities) == sorted(set(modalities))
    assert {"audio", "video", "audiovisual", "audiovisual_avhubert"} <= set(modalities)


@pytest.mark.parametrize("name", TASKS)
def test_streams(name: str) -> None:
    task = TASKS[name]
    assert metrics.metric(task.metric).name == task.metric
    for streams in task.streams.values():
        assert len({stream.name for stream in streams}) == len(streams)
        for stream in streams:
            assert set(stream.media) <= {"audio", "video"}
            assert stream.markers is None or set(stream.markers) <= set(MARKERS)
