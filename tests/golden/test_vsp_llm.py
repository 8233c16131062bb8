"""Against recordings of VSP-LLM: its release, loaded as it is, in float32 on the CPU."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

import av_hubert
from av_hubert.units import Centroids
from datamodules import formats
from datamodules.batch import Batch, Padded, Utterance
from datamodules.media import load_video
from datamodules.transforms import VideoTransform
from llama_avsr.checkpoints import folder as checkpoint
from llama_avsr.checkpoints import released
from llama_avsr.commands import convert
from llama_avsr.compressors import units
from llama_avsr.evaluation.loading import evaluation_options
from llama_avsr.lightning.data import text_of
from llama_avsr.model.build import build_model
from llama_avsr.model.decoding import BeamSearch
from llama_avsr.model.speech_llm import SpeechLLM
from llama_avsr.options import Options
from llama_avsr.training.schedules import tri_stage

FOLDER = Path(__file__).parent / "vsp_llm"
RELEASE = FOLDER / "train" / "checkpoint_vsp.pt"
AV_HUBERT = FOLDER.parent / "av_hubert" / "micro_concat_prenorm.plain.pt"
"""Of this size; a release of the published size serves as its own encoder."""
REPORT = json.loads((FOLDER / "model" / "report.json").read_text())
TEXTS = {
    "a.en-en": "the small boat drifts along the quiet river",
    "a.en-es": "el barco pequeño navega por el río tranquilo",
}
ATOL = 1e-4


def options() -> Options:
    given = {
        "pretrained_model_path": RELEASE,
        "root_dir": ".",
        "llm_model": str(FOLDER / "llm"),
        "pretrain_avhubert_enc_video_path": AV_HUBERT,
    }
    return evaluation_options(Options().updated(given), given.keys())


@pytest.fixture(scope="module")
def model() -> SpeechLLM:
    model = build_model(options()).eval()
    released.load_release(model, options(), RELEASE)
    return model


def clip(name: str, model: SpeechLLM) -> tuple[Batch, dict[str, np.ndarray]]:
    arrays = np.load(FOLDER / "model" / f"{name}.npz")
    spoken, written = name.split(".")[1].split("-")
    utterance = Utterance(
        id=name,
        video_path=Path("none"),
        audio_path=Path("none"),
        num_frames=int(arrays["cluster_counts"].sum()),
        text=TEXTS[name],
        source="none:1",
        languages=(spoken, written),
        run_lengths=tuple(arrays["cluster_counts"].tolist()),
    )
    video = Padded.from_list([torch.from_numpy(arrays["video"])[0, 0]])
    text_ids = text_of(options(), model.vocabulary)(utterance)
    return Batch(utterances=[utterance], inputs={"video": video}, text_ids=[text_ids]), arrays


@pytest.mark.parametrize("name", TEXTS)
@torch.no_grad()
def test_sequence_logits_and_loss(name: str, model: SpeechLLM) -> None:
    batch, arrays = clip(name, model)
    (ids,) = batch.text_ids
    assert ids.prefix.tolist() == arrays["instruction_ids"][0].tolist()
    assert ids.target.tolist() == arrays["target_ids"][0].tolist()
    (tokens,) = model.encode(batch)
    close(tokens.values, arrays["dedup"])
    embeddings = torch.cat(model.parts(batch.text_ids, [tokens], with_target=True)[0])[None]
    close(embeddings, arrays["inputs_embeds"])
    close(model.llm(inputs_embeds=embeddings).logits, arrays["logits"])
    loss = model.loss(batch)
    assert float(loss.cross_entropy) / loss.weight == pytest.approx(float(arrays["loss"]), abs=ATOL)
    assert loss.num_tokens == REPORT[name]["criterion_log"]["ntokens"]
    assert loss.num_speech_tokens == len(arrays["cluster_counts"])


@pytest.mark.parametrize("name", TEXTS)
def test_beam_search(name: str, model: SpeechLLM) -> None:
    batch, arrays = clip(name, model)
    searches = {
        "beam3_new8": BeamSearch(num_beams=3, max_new_tokens=8, length_penalty=0),
        "greedy_new8": BeamSearch(num_beams=1, max_new_tokens=8, length_penalty=0),
        "beam3_new8_lenpen1": BeamSearch(num_beams=3, max_new_tokens=8, length_penalty=1),
        "beam20_default": BeamSearch(num_beams=20, max_new_tokens=30, length_penalty=0),
    }
    for key, search in searches.items():
        ((best,),) = model.generate(batch, search)
        assert best.ids == without_end(arrays[f"gen.{key}"][0], model), key
        assert model.vocabulary.decode(best.ids) == REPORT[name][key]["text"][0].strip()
    search = BeamSearch(num_beams=3, max_new_tokens=8, length_penalty=0, num_best=3)
    (nbest,) = model.generate(batch, search)
    expected = [without_end(row, model) for row in arrays["gen.beam3_all"]]
    assert [hypothesis.ids for hypothesis in nbest] == expected
    np.testing.assert_allclose([h.score for h in nbest], arrays["gen.beam3_all_scores"], atol=ATOL)


@pytest.mark.parametrize("name", TEXTS)
def test_gradients(name: str, model: SpeechLLM) -> None:
    """Of the adapters, the projector and, once it is trained, the encoder."""
    batch, arrays = clip(name, model)
    theirs = {"decoder.base_model.model.": "llm.", "avfeat_to_llm.": "projectors.video.0."}
    theirs |= {"encoder.w2v_model.": "encoders.video.encoder."}
    parameters = dict(model.named_parameters())
    checked = 0
    for key in arrays.files:
        kind, _, key_of_theirs = key.partition(".")
        if not kind.startswith("grad"):
            continue
        prefix = next(prefix for prefix in theirs if key_of_theirs.startswith(prefix))
        parameter = parameters[theirs[prefix] + key_of_theirs.removeprefix(prefix)]
        was_trained = parameter.requires_grad
        parameter.requires_grad_(True)
        loss = model.loss(batch)
        (found,) = torch.autograd.grad(loss.cross_entropy / loss.weight, parameter)
        parameter.requires_grad_(was_trained)
        close(found, arrays[key])
        checked += 1
    assert checked == 17


def test_the_file_implies_its_options() -> None:
    found = options()
    assert (found.goal.task, found.goal.modality) == ("translation", "video")
    assert found.lora.lora_rank == 16
    assert found.lora.scale == 2
    assert found.lora.lora_targets == ("k_proj", "q_proj", "v_proj")
    assert (found.decoding.num_beams, found.decoding.max_dec_tokens) == (20, 30)
    assert found.decoding.length_penalty == 0


def test_the_file_is_its_own_encoder() -> None:
    given = {"pretrained_model_path": RELEASE, "root_dir": ".", "llm_model": str(FOLDER / "llm")}
    found = evaluation_options(Options().updated(given), given.keys())
    assert found.encoder.pretrain_avhubert_enc_video_path == RELEASE
    network = av_hubert.load_checkpoint(RELEASE)
    # The file does not tell its number of heads; published models have one for each 64 of their width.
    assert (network.config.dim, network.config.num_heads, network.config.layer_norm_first) == (64, 1, True)


def test_a_flag_that_contradicts_the_file() -> None:
    given = {"pretrained_model_path": RELEASE, "root_dir": ".", "llm_model": "x", "modality": "audio"}
    with pytest.raises(ValueError, match=r"--modality audio contradicts .* trained with video"):
        evaluation_options(Options().updated(given), given.keys())


@torch.no_grad()
def test_converted_folder_gives_the_same(model: SpeechLLM, tmp_path: Path) -> None:
    imported = released.convert(RELEASE, tmp_path / "converted", options())
    # Adapters of two layers (A and B on q, k, v) and the projector; the encoder is the file's own.
    assert (imported.new, imported.different) == (14, 0)
    assert imported.equal > 50
    state = checkpoint.read_state(tmp_path / "converted")
    assert not [key for key in state if key.startswith("encoders.")]
    given = {"pretrained_model_path": tmp_path / "converted", "root_dir": "."}
    again = evaluation_options(Options().updated(given), given.keys())
    rebuilt = build_model(again).eval()
    checkpoint.load_saved_state(rebuilt, state)
    batch, _ = clip("a.en-es", model)
    torch.testing.assert_close(rebuilt.loss(batch).cross_entropy, model.loss(batch).cross_entropy)


def test_the_command_converts_what_names_no_modality(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    flags = ["--llm-model", FOLDER / "llm", "--pretrain-avhubert-enc-video-path", AV_HUBERT]
    convert.main([str(word) for word in (RELEASE, tmp_path / "converted", *flags)])
    assert str(tmp_path / "converted") in capsys.readouterr().out
    assert checkpoint.read_state(tmp_path / "converted")
    with pytest.raises(ValueError, match="--modality audio contradicts"):
        convert.main([str(word) for word in (RELEASE, tmp_path / "wrong", *flags, "--modality", "audio")])
    with pytest.raises(ValueError, match=r"nothing\.pth: found no such file"):
        convert.main([str(word) for word in (tmp_path / "nothing.pth", tmp_path / "wrong", *flags)])
    assert not (tmp_path / "wrong").exists()


def test_learning_rate_curve() -> None:
    recorded = np.load(FOLDER / "train" / "tri_stage.npz")
    curve = tri_stage(10_000, 0, 20_000, 0.01, 0.05)
    assert len(recorded["step"]) == 50
    for step, rate in zip(recorded["step"], recorded["lr"], strict=True):
        assert 5e-4 * curve(int(step)) == pytest.approx(rate, abs=1e-6, rel=1e-6)


def without_end(ids: np.ndarray, model: SpeechLLM) -> list[int]:
    ids = ids.tolist()
    return ids[: ids.index(model.vocabulary.eos)] if model.vocabulary.eos in ids else ids


def close(found: torch.Tensor, expected: np.ndarray) -> None:
    torch.testing.assert_close(found, torch.from_numpy(expected), atol=ATOL, rtol=0)


@pytest.mark.parametrize(
    ("centroids", "layer", "counts"),
    [("km_L1", 1, "lab_L1"), ("km_L2", 2, "lab_L2"), ("km20_L1", 1, "lab_km20_L1")],
)
def test_units_on_the_fly(centroids: str, layer: int, counts: str, model: SpeechLLM, tmp_path: Path) -> None:
    """The recorded units of three clips in one padded batch, from the videos themselves."""
    values = np.load(FOLDER / "cluster" / f"{centroids}_centroids.npz")["centroids"]
    Centroids(values=values, layer=layer, silent_audio=True).save(tmp_path / "centroids.npz")
    compressor = units.make(0, 1, tmp_path / "centroids.npz", None)
    clips = formats.read(FOLDER / "data" / "vsr" / "en" / "test.tsv", FOLDER / "data", ["video"])
    transform = VideoTransform(train=False)
    videos = [transform(load_video(u.video_path, u.num_frames), torch.Generator()) for u in clips]
    _, features = model.encoders["video"].with_layer(
        compressor.units.layer, compressor.units.silent_audio, video=Padded.from_list(videos)
    )
    lines = (FOLDER / "cluster" / counts / "test.cluster_counts").read_text().splitlines()
    expected = [[int(count) for count in line.split()] for line in lines]
    assert [clip.tolist() for clip in compressor.units(features)] == expected
