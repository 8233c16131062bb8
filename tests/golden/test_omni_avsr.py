"""Against recordings of the original: one model for three tasks at two rates a medium, from released files.

Single clips are compared, as in test_llama_avsr.py, and for the same reason.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from datamodules.batch import Batch, Padded, Utterance
from llama_avsr.checkpoints import folder as checkpoint
from llama_avsr.checkpoints import released
from llama_avsr.evaluation.loading import evaluation_options
from llama_avsr.model.build import build_model, text_of
from llama_avsr.model.decoding import BeamSearch
from llama_avsr.model.lora import activate
from llama_avsr.model.loss import Loss
from llama_avsr.model.speech_llm import SpeechLLM
from llama_avsr.model.views import Mix, View
from llama_avsr.options import Options
from tests.golden.archives import unpacked
from tests.golden.test_llama_avsr import ATOL, AV_HUBERT, INGREDIENTS, close, without_end

FOLDER = Path(__file__).parent / "omni_avsr"
NAMES = sorted(path.stem for path in FOLDER.glob("*.json"))
SHARINGS = {"s": "shared", "t": "task", "st": "both"}
COMPLETE = "st_llama32_1b_a4-16_v2-5"
TASKS = {"audio": "asr", "video": "vsr", "audiovisual": "avsr"}


def recording(name: str) -> dict[str, Any]:
    return json.loads((FOLDER / f"{name}.json").read_text())


@cache
def arrays(name: str) -> dict[str, np.ndarray]:
    return dict(np.load(FOLDER / f"{name}.npz"))


@pytest.fixture(scope="module")
def pth(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The files as they were released: what they share with the complete one is kept only there."""
    root = tmp_path_factory.mktemp("released")
    kept = unpacked(FOLDER / "released.tar.xz")
    whole = torch.load(kept / f"{COMPLETE}.pth", weights_only=True)

    @cache
    def path(name: str) -> Path:
        if name == COMPLETE:
            return kept / f"{name}.pth"
        rest = torch.load(kept / f"{name}.rest.pth", weights_only=True)
        state = {key: rest.get(key, whole.get(key)) for key in recording(name)["state_dict"]}
        assert all(value is not None for value in state.values())
        torch.save(state, root / f"{name}.pth")
        return root / f"{name}.pth"

    return path


def flags(name: str, path: Path) -> Options:
    """The recorded command line in our words, with hub names turned into the folders of the tiny models."""
    cli = recording(name)["cli"]
    folders = [root / cli["llm_model"] for root in (FOLDER / "ingredients", INGREDIENTS)]
    return Options().updated(
        {
            "modality": "audiovisual",
            "tasks": ("asr", "vsr", "avsr"),
            "task_weights": cli["matry_weights"],
            "compression_mode": cli["compression_mode"],
            "downsample_ratios_audio": cli["downsample_ratio_audio"],
            "downsample_ratios_video": cli["downsample_ratio_video"],
            "llm_model": str(next(folder for folder in folders if folder.is_dir())),
            "audio_encoder_name": str(INGREDIENTS / cli["audio_encoder_name"]),
            "pretrain_avhubert_enc_video_path": AV_HUBERT,
            "use_lora_avhubert": True,
            "intermediate_size": cli["intermediate_size"],
            "add_PETF_LLM": "lora",
            "reduction_lora": cli["rank"],
            "alpha": cli["alpha"],
            "lora_sharing": SHARINGS[name.split("_")[0]],
            # The recordings were made in float32.
            "whisper_length_rounding": "float32",
            "pretrained_rounding": "bfloat16",
            "root_dir": ".",
            "pretrained_model_path": path,
        }
    )


@pytest.fixture(scope="module")
def model_of(pth: Any) -> Any:
    @cache
    def make(name: str, **more: Any) -> SpeechLLM:
        options = flags(name, pth(name)).updated(more)
        model = build_model(options).eval()
        released.load_release(model, options, pth(name))
        return model

    return make


def view_of(model: SpeechLLM, key: str) -> View:
    """`audiovisual.a4.v2` -> the view `avsr_4_2`."""
    medium, *rates = key.split(".")
    return model.views["_".join([TASKS[medium], *(rate[1:] for rate in rates)])]


def clip(name: str, key: str, model: SpeechLLM, uncut: bool = False) -> Batch:
    """A recorded clip."""
    recorded = recording(name)
    inputs = np.load(FOLDER / "inputs.npz")
    audio = torch.from_numpy(inputs[f"{key}.audio_uncut" if uncut else f"{key}.audio"])
    text = recorded["texts"][key]["text"]
    utterance = Utterance(
        id=key, video_path=Path(), audio_path=Path(), num_frames=1, text=text, source="none:1"
    )
    ids = text_of(flags(name, Path("none.pth")), model.vocabulary)(utterance)
    for medium, task in TASKS.items():
        assert ids.of(task).suffix.tolist() == recorded["prompt_ids"][medium]
        assert [*ids.of(task).prefix.tolist(), *ids.of(task).target.tolist()] == recorded["texts"][key]["ids"]
    return Batch(
        utterances=[utterance],
        inputs={
            "audio": Padded.from_list([audio]),
            "video": Padded.from_list([torch.from_numpy(inputs[f"{key}.video"])]),
        },
        text_ids=[ids],
    )


def test_recordings_are_there() -> None:
    assert [name.split("_")[0] for name in NAMES] == ["s", "st", "t"]


@pytest.mark.parametrize("name", NAMES)
@torch.no_grad()
def test_embeddings_logits_and_losses(name: str, model_of: Any) -> None:
    recorded, model, checked = recording(name), model_of(name), 0
    for key, by_view in recorded["loss"].items():
        if "QUIRK" in key:
            continue
        batch = clip(name, key, model)
        views = [view_of(model, view) for view in by_view]
        losses = model.losses(batch, views)
        for view, loss, (spelt, expected) in zip(views, losses, by_view.items(), strict=True):
            assert float(loss.cross_entropy) / loss.weight == pytest.approx(expected["ce"], abs=ATOL)
            assert (loss.num_positions, loss.num_tokens) == (expected["seq_len"], expected["num_targets"])
            embeddings, logits = whole(model, batch, view)
            kept = arrays(name).get(f"{key}.{spelt}.inputs_embeds")
            if kept is not None:
                close(embeddings[: len(kept)], kept)
            kept = arrays(name).get(f"{key}.{spelt}.logits")
            if kept is not None:
                close(logits[-len(kept) :], kept)
            checked += 1
        for medium in ("audio", "video"):
            kept = arrays(name).get(f"{key}.{medium}_encoder.out")
            if kept is not None:
                close(model.encoders[medium](**{medium: batch.inputs[medium]}).values[0], kept)
    assert checked == sum(len(v) for key, v in recorded["loss"].items() if "QUIRK" not in key) > 16


def whole(model: SpeechLLM, batch: Batch, view: View) -> tuple[torch.Tensor, torch.Tensor]:
    """The LLM's input [L, D] and logits [L, V]."""
    ids = [ids.of(view.task) for ids in batch.text_ids]
    activate(model.llm, view.adapters)
    (pieces,) = model.parts(ids, model.encode(batch, view), with_target=True, view=view)
    embeddings = torch.cat(pieces)
    return embeddings, model.llm(inputs_embeds=embeddings[None]).logits[0]


@pytest.mark.parametrize("name", NAMES)
def test_beam_search_ids(name: str, model_of: Any) -> None:
    recorded, model, checked = recording(name), model_of(name), 0
    for uncut, decoded in ((False, recorded["decode"]), (True, recorded["decode_asr_uncut_wav"])):
        for key, by_view in decoded.items():
            batch = clip(name, key, model, uncut)
            for spelt, by_search in by_view.items():
                view = view_of(model, spelt)
                tokens = model.encode(batch, view)
                for search, expected in by_search.items():
                    width, longest = map(int, search.removeprefix("beams").split("_max"))
                    asked = BeamSearch(num_beams=width, max_new_tokens=longest, num_best=3)
                    nbest = model.generate(batch, asked, tokens, view)[0]
                    assert nbest[0].ids == without_end(expected["ids"], model.vocabulary.eos)
                    for hypothesis, (score, ids) in zip(nbest, expected.get("nbest", []), strict=False):
                        assert hypothesis.ids == without_end(ids, model.vocabulary.eos)
                        assert hypothesis.score == pytest.approx(score, abs=ATOL)
                    checked += 1
    assert checked > 40


@pytest.mark.parametrize("name", NAMES)
def test_a_training_step_and_its_gradients(name: str, model_of: Any, pth: Any) -> None:
    recorded, model = recording(name), model_of(name)
    mix, checked = Mix(list(model.views.values()), flags(name, pth(name)).training.task_weights), 0
    for step in recorded["training_step"][:4]:
        audio, video = step["rates_drawn_audio_then_video"]
        shares = mix.at({"audio": audio, "video": video})
        losses = model.losses(clip(name, step["clips"][0], model), [share.view for share in shares])
        loss = Loss.mixed(losses, shares)
        assert float(loss.cross_entropy.detach()) / loss.weight == pytest.approx(
            step["returned_loss"], abs=ATOL
        )
        if step["clips"] == ["u0"] and [audio, video] == recorded["grad_rates"]:
            model.zero_grad()
            (loss.cross_entropy / loss.weight).backward()
            check_gradients(name, model)
        checked += 1
    assert checked == 4
    assert "u0" in recorded["training_step"][2]["clips"]


def check_gradients(name: str, model: SpeechLLM) -> None:
    norms = recording(name)["grad_norm.u0"]
    own = released.omni_avsr.translate({key: torch.tensor(0) for key in norms}, model)
    assert len(own) == len(norms) > 20
    for (key, norm), ours in zip(norms.items(), own, strict=True):
        gradient = model.get_parameter(ours).grad
        assert (gradient is None) == (norm is None), key
        if norm is not None:
            assert float(gradient.norm()) == pytest.approx(norm, rel=1e-3, abs=ATOL), key
            if f"grad.{key}" in arrays(name):
                close(gradient, arrays(name)[f"grad.{key}"])


@torch.no_grad()
def test_rotary_frequencies_as_the_releases_were_trained(model_of: Any) -> None:
    model = model_of(COMPLETE, rotary_rounding="bfloat16")
    kept = arrays(COMPLETE)["u0.audiovisual.a4.v2.logits_rope_bf16"]
    batch = clip(COMPLETE, "u0", model)
    _, logits = whole(model, batch, model.views["avsr_4_2"])
    _, unrounded = whole(model_of(COMPLETE), batch, model.views["avsr_4_2"])
    found, exact = ((of[-len(kept) :] - torch.from_numpy(kept)).abs().max() for of in (logits, unrounded))
    assert found < exact / 2


@pytest.mark.parametrize("name", NAMES)
@torch.no_grad()
def test_converted_folder_gives_the_same(name: str, model_of: Any, pth: Any, tmp_path: Path) -> None:
    imported = released.convert(pth(name), tmp_path / "converted", flags(name, pth(name)))
    assert imported.new > 20
    asked = Options().updated({"pretrained_model_path": tmp_path / "converted", "root_dir": "."})
    options = evaluation_options(asked, {"pretrained_model_path", "root_dir"})
    model = build_model(options).eval()
    checkpoint.load_saved_state(model, checkpoint.read_state(tmp_path / "converted"))
    batch = clip(name, "u1", model)
    views = list(model.views.values())
    assert len(views) == 8
    found = [loss.cross_entropy for loss in model.losses(batch, views)]
    expected = [loss.cross_entropy for loss in model_of(name).losses(batch, views)]
    torch.testing.assert_close(found, expected, atol=ATOL, rtol=0)


WRONG = {
    "rates": (
        {"downsample_ratios_audio": (4, 8, 16)},
        r"--downsample-ratios-audio 4 8 16: the file has projectors for 2 rates",
    ),
    "sharing": ({"lora_sharing": "task"}, r"--lora-sharing task, the file's adapters are of the kind both"),
    "stack": (
        {"compression_mode": "stack"},
        r"--compression-mode stack .* takes 64 \(single or averaged",
    ),
    "LayerNorm": ({"layernorm_projector": True}, r"--layernorm-projector True, .* ends with no LayerNorm"),
    "tasks": ({"tasks": ("asr",)}, r"--tasks asr .* need projectors for audio, the file .* audio, video"),
    "LoRA rank": ({"reduction_lora": 8}, r"LoRA flags give rank 8, the file has rank 4"),
    "encoder": ({"use_lora_avhubert": False}, r"--use-lora-avhubert False, the file has LoRA"),
    "prompt": (
        {"prompt_video": "Transcribe speech to text."},
        r"--prompt-video 'Transcribe speech to text.': the file was trained with another",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_flags_that_contradict_the_file(case: str, pth: Any) -> None:
    changed, message = WRONG[case]
    options = flags(COMPLETE, pth(COMPLETE)).updated(changed)
    with pytest.raises(ValueError, match=message):
        released.load_release(build_model(options), options, pth(COMPLETE))
