"""A model for several tasks at several rates: what its views share, and what they do not."""

from __future__ import annotations

import pickle
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from datamodules.batch import Batch
from datamodules.loader import ForkingPickler
from llama_avsr.checkpoints import folder as checkpoint
from llama_avsr.model.build import text_of
from llama_avsr.model.loss import Loss
from llama_avsr.model.speech_llm import SpeechLLM
from llama_avsr.model.text import SpeechTexts
from llama_avsr.model.views import Mix
from llama_avsr.options import Options, merge_with_checkpoint, problems, to_dict
from llama_avsr.options.views import chosen_views
from llama_avsr.transcription.loading import load
from tests import models
from tests.e2e.data_set import write_mp4, write_wav
from tests.speech import spoken

TASKS = ("asr", "vsr", "avsr")
ELASTIC: dict[str, Any] = {
    "tasks": TASKS,
    "compression_mode": "avg-pooling",
    "downsample_ratios_audio": (4, 10),
    "downsample_ratios_video": (2, 5),
    "lora_sharing": "both",
}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return models.folders(Path(tmp_path_factory.mktemp("models")))


def clips(made: dict[str, str], model: SpeechLLM, **more: Any) -> list[Batch]:
    """Single clips, with the texts of every task."""
    encode = text_of(models.options(made, "audiovisual", **{**ELASTIC, **more}), model.vocabulary)
    assert isinstance(encode, SpeechTexts)
    found = models.clips(model, "")
    for batch in found:
        batch.text_ids[:] = [encode(utterance) for utterance in batch.utterances]
    return found


def test_each_encoder_and_projector_runs_once(made: dict[str, str]) -> None:
    model = models.build(made, "audiovisual", **ELASTIC)
    calls: Counter[str] = Counter()
    for kind in ("encoders", "projectors"):
        for name, module in getattr(model, kind).items():
            module.register_forward_hook(lambda *_, key=f"{kind} {name}": calls.update([key]))
    model.losses(models.joined(clips(made, model)), list(model.views.values()))
    parts = ("audio_4", "audio_10", "video_2", "video_5")
    assert calls == {f"encoders {n}": 1 for n in ("audio", "video")} | {f"projectors {n}": 1 for n in parts}


def test_views_together_equal_each_alone_and_batches_equal_clips(made: dict[str, str]) -> None:
    model = models.build(made, "audiovisual", **ELASTIC)
    singles, views = clips(made, model), list(model.views.values())
    together = model.losses(models.joined(singles), views)
    assert len({float(loss.cross_entropy.detach()) for loss in together}) == len(views) == 8
    for view, loss in zip(views, together, strict=True):
        alone = sum(model.loss(batch, view).cross_entropy for batch in singles)
        torch.testing.assert_close(loss.cross_entropy, alone, atol=1e-4, rtol=1e-5)


@pytest.mark.parametrize(("sharing", "calls"), [("shared", 1), ("both", 3)])
def test_the_llm_reads_views_of_the_same_adapters_at_once(
    made: dict[str, str], sharing: str, calls: int
) -> None:
    """... and losses and gradients are those of reading them one by one, padded."""
    model = models.build(made, "audiovisual", **{**ELASTIC, "lora_sharing": sharing}).train()
    batch, shares = models.joined(clips(made, model)), Mix(list(model.views.values())).of_step(0)
    views = [share.view for share in shares]
    read: list[object] = []
    model.llm.register_forward_hook(lambda *_: read.append(None))
    found = []
    for packs in (True, False):
        model.packs = packs
        model.zero_grad()
        losses = model.losses(batch, views)
        Loss.mixed(losses, shares).cross_entropy.backward()
        gradients = {n: p.grad for n, p in model.named_parameters() if p.grad is not None}
        found.append(([loss.cross_entropy.detach() for loss in losses], gradients, len(read)))
    (together, gradients, packed_calls), (one_by_one, expected, all_calls) = found
    assert (packed_calls, all_calls - packed_calls) == (calls, len(views))
    torch.testing.assert_close(together, one_by_one, atol=1e-4, rtol=1e-5)
    assert gradients.keys() == expected.keys()
    for name, gradient in expected.items():
        torch.testing.assert_close(gradients[name], gradient, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("sharing", ["shared", "task", "both"])
def test_a_task_sees_its_own_adapter_and_the_shared_one(made: dict[str, str], sharing: str) -> None:
    model = models.build(made, "audiovisual", **{**ELASTIC, "lora_sharing": sharing})
    batch = clips(made, model)[0]
    views = {view.task: view for view in model.views.values()}
    before = {task: float(model.loss(batch, view).cross_entropy.detach()) for task, view in views.items()}
    for adapter, changes in (("default", set(TASKS)), ("vsr", {"vsr"})):
        weights = {n: p for n, p in model.named_parameters() if f".lora_B.{adapter}." in n}
        assert bool(weights) == (sharing == "both" or (sharing == "shared") == (adapter == "default"))
        with torch.no_grad():
            for weight in weights.values():
                weight.neg_()
        after = {task: float(model.loss(batch, view).cross_entropy.detach()) for task, view in views.items()}
        assert {task for task in TASKS if after[task] != before[task]} == (changes if weights else set())
        before = after


def test_gradient_checkpointing_recomputes_with_the_adapters_of_the_pass(made: dict[str, str]) -> None:
    """All tasks go backward at once, when the last one's adapters are active."""
    gradients = []
    for switch in (False, True):
        model = models.build(made, "audiovisual", **ELASTIC, gradient_checkpointing=switch)
        model.train()
        batch, shares = models.joined(clips(made, model)), Mix(list(model.views.values())).of_step(0)
        losses = model.losses(batch, [share.view for share in shares])
        Loss.mixed(losses, shares).cross_entropy.backward()
        gradients.append({n: p.grad for n, p in model.named_parameters() if p.requires_grad})
    assert gradients[0].keys() == gradients[1].keys()
    found = {name for name, gradient in gradients[0].items() if gradient is not None}
    assert {name.split(".")[-2] for name in found if "lora_" in name} == {*TASKS, "default"}
    assert len({name.split(".")[1] for name in found if name.startswith("projectors.")}) == 2
    for name in gradients[0]:
        torch.testing.assert_close(gradients[1][name], gradients[0][name], atol=1e-5, rtol=1e-4)


def test_rates_are_drawn_evenly_and_again_alike(made: dict[str, str]) -> None:
    views = list(models.build(made, "audiovisual", **ELASTIC).views.values())
    mix = Mix(views, (1, 1.5, 1), seed=3)
    steps = [[share.view.name for share in mix.of_step(step)] for step in range(400)]
    assert steps == [[share.view.name for share in Mix(views, seed=3).of_step(step)] for step in range(400)]
    assert steps != [[share.view.name for share in Mix(views, seed=4).of_step(step)] for step in range(400)]
    counts = Counter(steps_views[-1] for steps_views in steps)
    assert len(counts) == 4
    assert all(60 < count < 140 for count in counts.values())
    for asr, vsr, avsr in steps:
        assert avsr == f"avsr{asr.removeprefix('asr')}{vsr.removeprefix('vsr')}"
    assert [(s.weight, s.count) for s in mix.of_step(0)] == [(1, 1), (1.5, 1), (1, 1)]
    whole = {s.view.name: (s.weight, s.count) for s in Mix(views, (1, 1.5, 1), draws=False).of_step(0)}
    assert len(whole) == 8
    assert (whole["vsr_5"], whole["avsr_10_2"]) == ((0.75, 0.5), (0.25, 0.25))


def test_translation_is_a_further_task(made: dict[str, str]) -> None:
    more = {"tasks": ("asr", "avsr", "translation")}
    model = models.build(made, "audiovisual", **{**ELASTIC, **more})
    batch = models.joined(clips(made, model, **more))
    view = model.views["translation_4_5"]
    assert all(stream.markers is None for stream in view.streams)
    losses = model.losses(batch, [view, model.views["avsr_4_5"]])
    # It repeats BOS before the target, and learns it.
    assert losses[0].num_tokens == losses[1].num_tokens + len(batch)
    assert set(model.projectors) == {"audio_4", "audio_10", "video_2", "video_5"}


def test_texts_of_all_tasks_travel_between_processes(made: dict[str, str]) -> None:
    model = models.build(made, "audiovisual", **ELASTIC)
    ids = clips(made, model)[0].text_ids[0]
    again = pickle.loads(bytes(ForkingPickler.dumps(ids)))
    assert list(again.by_task) == list(TASKS)
    for task in TASKS:
        assert again.of(task).suffix.equal(ids.of(task).suffix)
    assert not again.of("asr").suffix.equal(again.of("avsr").suffix)


def elastic_options(**more: Any) -> Options:
    return Options().updated(
        {"modality": "audiovisual", **ELASTIC, "add_PETF_LLM": "lora", "lora_rank": 4, **more}
    )


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"task": "asr"}, "--task asr is one task and --tasks asr vsr avsr are several"),
        ({"tasks": ("asr", "asr")}, "--tasks asr asr: expected each once"),
        ({"downsample_ratios_video": (2, 2)}, "--downsample-ratios-video 2 2: expected each once"),
        ({"task_weights": (1, 2)}, "--task-weights 1 2: expected 3, one for each of --tasks asr vsr avsr"),
        ({"add_PETF_LLM": None}, "--lora-sharing both needs --add_PETF_LLM lora"),
        ({"modality": "audio"}, "--tasks vsr --modality audio: it takes video"),
        ({"modality": "audiovisual_avhubert"}, "--tasks avsr .* another encoder .* --modality audiovisual"),
    ],
)
def test_options_that_contradict_each_other(more: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        raise ValueError("\n".join(problems(elastic_options(**more), "train")))


def test_a_single_task_is_its_own_only_view() -> None:
    options = Options().updated({"modality": "video"})
    assert options.views == (options,)
    assert problems(elastic_options(), "train") == []


def test_views_are_chosen_by_flags() -> None:
    asked = Options().updated({"llm_model": "llm", "downsample_ratio_audio": 10, "tasks": ("avsr", "vsr")})
    made = {"audio_encoder_name": "whisper", "pretrain_avhubert_enc_video_path": "av", "llm_model": "llm"}
    asked = asked.updated({"root_dir": "data", "pretrained_model_path": "model"})
    explicit = {"downsample_ratio_audio", "tasks", "root_dir", "pretrained_model_path"}
    options = merge_with_checkpoint(asked, explicit, to_dict(elastic_options(**made)))
    assert options.goal.tasks == TASKS
    assert len(options.views) == 8
    chosen = [view.view_name for view in chosen_views(options, asked, explicit)]
    assert chosen == ["vsr_2", "vsr_5", "avsr_10_2", "avsr_10_5"]
    assert len(chosen_views(options, asked, ())) == 8


def test_a_recording_is_written_down_by_the_task_that_fits_it(made: dict[str, str], tmp_path: Path) -> None:
    options = models.options(made, "audiovisual", **ELASTIC)
    model = models.build(made, "audiovisual", **ELASTIC)
    checkpoint.write(tmp_path / "average", checkpoint.saved_state(model), to_dict(options))
    rng = np.random.default_rng(0)
    write_wav(tmp_path / "heard.wav", spoken(1.0))
    write_mp4(tmp_path / "both.mp4", rng.integers(0, 256, (25, 96, 96), dtype=np.uint8))
    write_wav(tmp_path / "both.wav", spoken(1.0))
    quick = {"num_beams": 1, "max_dec_tokens": 3, "accelerator": "cpu", "already_cropped": True}
    transcriber = load(tmp_path / "average", downsample_ratio_audio=10, **quick)
    used: list[str] = []
    encode = transcriber.trained.model.encode_with_frames
    transcriber.trained.model.encode_with_frames = lambda batch, view: (
        used.append(view.name) or encode(batch, view)
    )
    transcriber.transcribe(tmp_path / "heard.wav")
    transcriber.transcribe(tmp_path / "both.mp4")
    transcriber.transcribe(tmp_path / "both.mp4", modality="video")
    assert used == ["asr_10", "avsr_10_2", "vsr_2"]
    with pytest.raises(ValueError, match="--downsample-ratio-audio 7: the model was trained at 4, 10"):
        load(tmp_path / "average", downsample_ratio_audio=7, **quick)
