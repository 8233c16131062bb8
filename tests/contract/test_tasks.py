"""What every task promises: complete streams, a layout that its own options make, tokens that exist."""

from pathlib import Path

import pytest

from datamodules import registry
from datamodules.batch import Utterance
from llama_avsr.evaluation.metrics import METRICS
from llama_avsr.options import FIELDS, MODALITIES, Options
from llama_avsr.tasks import MARKERS

TASKS = {name: registry.load("llama_avsr.tasks", name).TASK for name in registry.names("llama_avsr.tasks")}
UTTERANCE = Utterance(
    id="a", video_path=Path("a.mp4"), audio_path=Path("a.wav"), num_frames=9, text="hello", source="a:1"
)


def test_each_modality_means_a_task() -> None:
    assert MODALITIES
    for name, modality in MODALITIES.items():
        streams = TASKS[modality.task].streams_of(name, joint=False)
        assert {medium for stream in streams for medium in stream.media} == set(modality.media)


@pytest.mark.parametrize("name", TASKS)
def test_streams(name: str) -> None:
    task = TASKS[name]
    assert task.streams
    for modality, streams in (*task.streams.items(), *task.joint.items()):
        assert modality in MODALITIES
        assert len({stream.name for stream in streams}) == len(streams)
        for stream in streams:
            assert set(stream.media) <= {"audio", "video"}
            assert stream.markers is None or set(stream.markers) <= set(MARKERS) & set(task.tokens)
            slot = stream.slot
            assert {stream.ratio, slot.named_by, slot.avhubert_by} - {None} <= FIELDS.keys()


@pytest.mark.parametrize("name", TASKS)
def test_layout(name: str) -> None:
    layout = Options().updated({"task": name, "modality": next(iter(TASKS[name].streams))}).layout
    before, after = layout.around(UTTERANCE)
    assert isinstance(before, str)
    assert isinstance(after, str)
    assert before or after
    assert isinstance(layout.target(UTTERANCE), str)
    assert TASKS[name].metric(("en", "en")) in METRICS
