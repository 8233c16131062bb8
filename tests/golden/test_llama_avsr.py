"""Against recordings of the original: released files, loaded with the flags of their README.

Single clips are compared. The original let the padding of a batch through (it was made into LLM tokens,
without a mask); its recorded batches of two differ from ours on purpose, and tests/contract/test_padding.py
holds ours.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from datamodules.batch import Batch, Padded, TextIds, Utterance
from llama_avsr.checkpoints import folder as checkpoint
from llama_avsr.checkpoints import released
from llama_avsr.evaluation.loading import evaluation_options
from llama_avsr.model.build import build_model
from llama_avsr.model.decoding import BeamSearch
from llama_avsr.model.speech_llm import SpeechLLM
from llama_avsr.model.text import SpeechText
from llama_avsr.options import Options
from llama_avsr.options.groups import BY_SPELLING
from llama_avsr.tasks import Prompt
from tests.golden.archives import unpacked
from tests.golden.llama_avsr_releases import release

FOLDER = Path(__file__).parent / "llama_avsr"
INGREDIENTS = FOLDER / "ingredients"
AV_HUBERT = Path(__file__).parent / "av_hubert" / "micro_concat_prenorm.plain.pt"
NAMES = sorted(path.stem for path in FOLDER.glob("*.json"))
ATOL = 1e-4
"""What the specification asks for."""


def flags(name: str) -> Options:
    """The recorded command line, with hub names turned into the folders of the tiny models."""
    recorded = json.loads((FOLDER / f"{name}.json").read_text())["cli"]
    values: dict[str, Any] = {key: value for key, value in recorded.items() if value not in (None, [None])}
    for key in ("llm_model", "audio_encoder_name"):
        if key in values and (INGREDIENTS / values[key]).is_dir():
            values[key] = str(INGREDIENTS / values[key])
    values |= {key: str(AV_HUBERT) for key in values if key.startswith("pretrain_avhubert")}
    # The recordings were made in float32.
    values |= {"whisper_length_rounding": "float32", "pretrained_rounding": "bfloat16"}
    values |= {"root_dir": ".", "pretrained_model_path": str(pth(name))}
    known = {BY_SPELLING[key.lower()].name: value for key, value in values.items()}
    return Options().updated(known)


def pth(name: str) -> Path:
    return release(json.loads((FOLDER / f"{name}.json").read_text())["pth"].removesuffix(".pth"))


def arrays_of(name: str) -> Any:
    return np.load(unpacked(FOLDER / "recorded.tar.xz") / f"{name}.npz")


def model_of(name: str) -> SpeechLLM:
    options = flags(name)
    model = build_model(options).eval()
    released.load_release(model, options, pth(name))
    return model


def clip(arrays: Any, key: str, prompt_ids: list[int]) -> Batch:
    """A recorded single clip."""
    inputs = {}
    if f"{key}.batch.audio" in arrays:
        audio = torch.from_numpy(arrays[f"{key}.batch.audio"])[0]
        inputs["audio"] = Padded.from_list([audio[:, 0] if audio.shape[1] == 1 else audio])
    if f"{key}.batch.video" in arrays:
        inputs["video"] = Padded.from_list([torch.from_numpy(arrays[f"{key}.batch.video"])[0][:, 0]])
    tokens = torch.from_numpy(arrays[f"{key}.batch.tokens"])[0]
    ids = TextIds(prefix=tokens[:1], suffix=torch.tensor(prompt_ids), target=tokens[1:])
    nowhere = Path("none")
    utterance = Utterance(
        id=key, video_path=nowhere, audio_path=nowhere, num_frames=1, text="", source="none:1"
    )
    return Batch(utterances=[utterance], inputs=inputs, text_ids=[ids])


def test_recordings_are_there() -> None:
    assert len(NAMES) == 8


@pytest.mark.parametrize("name", NAMES)
@torch.no_grad()
def test_embeddings_logits_and_loss(name: str) -> None:
    recorded, arrays = json.loads((FOLDER / f"{name}.json").read_text()), arrays_of(name)
    model = model_of(name)
    keys = [key for key in recorded["loss"] if "QUIRK" not in key]
    assert keys == ["train.u0", "train.u1", "train.u2"]
    for key in keys:
        batch = clip(arrays, key, recorded["prompt_ids_used"])
        pieces = model.parts(batch.text_ids, model.encode(batch), with_target=True)
        embeddings = torch.cat(pieces[0])[None]
        close(embeddings, arrays[f"{key}.inputs_embeds"])
        close(model.llm(inputs_embeds=embeddings).logits, arrays[f"{key}.logits"])
        loss = model.loss(batch)
        assert float(loss.cross_entropy) / loss.num_tokens == pytest.approx(
            recorded["loss"][key]["ce"], abs=ATOL
        )
        if "sink_loss" in loss.added:
            found = float(loss.added["sink_loss"]) / loss.num_tokens
            assert found == pytest.approx(recorded["loss"][key]["decor_loss"], rel=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_beam_search_ids(name: str) -> None:
    recorded, arrays = json.loads((FOLDER / f"{name}.json").read_text()), arrays_of(name)
    model, checked = model_of(name), 0
    eos = model.vocabulary.eos
    for clip_name, by_search in recorded["decode"].items():
        batch = clip(arrays, f"train.{clip_name}", recorded["prompt_ids_used"])
        for search, expected in by_search.items():
            width, tokens = map(int, search.removeprefix("beams").split("_max"))
            nbest = model.generate(batch, BeamSearch(num_beams=width, max_new_tokens=tokens, num_best=3))[0]
            assert nbest[0].ids == without_end(expected["ids"], eos)
            assert model.vocabulary.decode(nbest[0].ids) == expected["text"].strip()
            if expected["sequence_score"] is not None:
                assert nbest[0].score == pytest.approx(expected["sequence_score"], abs=ATOL)
            for hypothesis, (score, ids) in zip(nbest, expected.get("nbest", []), strict=False):
                assert hypothesis.ids == without_end(ids, eos)
                assert hypothesis.score == pytest.approx(score, abs=ATOL)
            checked += 1
    assert checked == 9


@pytest.mark.parametrize("name", NAMES)
def test_token_ids(name: str) -> None:
    recorded = json.loads((FOLDER / f"{name}.json").read_text())
    model = model_of(name)
    encode = SpeechText(model.vocabulary, Prompt(recorded["prompt"]))
    for text in recorded["texts"].values():
        utterance = Utterance(
            id="", video_path=Path(), audio_path=Path(), num_frames=1, text=text["text"], source=":1"
        )
        ids = encode(utterance)
        assert [*ids.prefix.tolist(), *ids.target.tolist()] == text["ids"]
        assert ids.suffix.tolist() == recorded["prompt_ids_used"]
    for token, token_id in recorded["special_ids"].items():
        assert model.vocabulary.id_of(token) == token_id


@pytest.mark.parametrize("name", NAMES)
@torch.no_grad()
def test_converted_folder_gives_the_same(name: str, tmp_path: Path) -> None:
    """Our format holds what differs from the pretrained files and drops what is equal."""
    arrays = arrays_of(name)
    options = flags(name)
    imported = released.convert(pth(name), tmp_path / "converted", options)
    state = checkpoint.read_state(tmp_path / "converted")
    assert imported.new + imported.different <= len(state) <= imported.new + imported.different + 2
    assert imported.new > 0
    model = build_model(options).eval()
    checkpoint.load_saved_state(model, state)
    batch = clip(arrays, "train.u0", json.loads((FOLDER / f"{name}.json").read_text())["prompt_ids_used"])
    expected = model_of(name).loss(batch).cross_entropy
    torch.testing.assert_close(model.loss(batch).cross_entropy, expected, atol=ATOL, rtol=0)
    again = evaluation_options(
        Options().updated({"pretrained_model_path": tmp_path / "converted", "root_dir": "."}),
        {"pretrained_model_path", "root_dir"},
    )
    assert again.llm.llm_model == options.llm.llm_model
    assert again["downsample_ratio_audio"] == options["downsample_ratio_audio"]


WRONG = {
    "LLM": ({"llm_model": str(INGREDIENTS / "meta-llama/Llama-2-7b-hf")}, r"--llm-model .*485 rows.*515"),
    "compression": (
        {"downsample_ratio_audio": 4},
        r"--downsample-ratio-audio 4 gives 256 .* takes 192 \(3 stacked",
    ),
    "averaging": (
        {"compression_mode": "avg-pooling"},
        r"--compression-mode avg-pooling .* takes 192 \(3 stacked",
    ),
    "LayerNorm": ({"layernorm_projector": True}, r"--layernorm-projector True, .* ends with no LayerNorm"),
    "width": ({"intermediate_size": 64}, r"--intermediate-size 64, the file has 48"),
    "LoRA rank": ({"reduction_lora": 8}, r"LoRA flags give rank 8, the file has rank 4"),
    "no LoRA": (
        {"add_PETF_LLM": None, "reduction_lora": None, "alpha": None},
        r"--add_PETF_LLM None, .* has LoRA",
    ),
    "modality": (
        {"modality": "video", "pretrain_avhubert_enc_video_path": AV_HUBERT},
        r"--modality video needs projectors for video, the file has them for audio",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_flags_that_contradict_the_file(case: str) -> None:
    changed, message = WRONG[case]
    options = flags("a_whisper_stack3_llama31").updated(changed)
    with pytest.raises(ValueError, match=message):
        released.load_release(build_model(options), options, pth("a_whisper_stack3_llama31"))


def close(found: torch.Tensor, expected: np.ndarray) -> None:
    torch.testing.assert_close(found, torch.from_numpy(expected), atol=ATOL, rtol=0)


def without_end(ids: list[int], eos: int) -> list[int]:
    return ids[: ids.index(eos)] if eos in ids else ids
