from dataclasses import replace
from pathlib import Path

import pytest
import torch

from datamodules.batch import Batch, Padded
from llama_avsr.checkpoints import folder as checkpoint
from llama_avsr.model.build import build_model
from llama_avsr.model.decoding import BeamSearch
from llama_avsr.model.freezing import unfreeze
from llama_avsr.tasks import Instruction
from tests import models

PROMPT = "transcribe speech and video to text ."


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return models.folders(Path(tmp_path_factory.mktemp("models")))


def test_loss_is_that_of_the_whole_sequence(made: dict[str, str]) -> None:
    """Against transformers' own loss over all positions, on the sequence spelt out here."""
    model = models.build(made, "audio")
    (batch, *_) = models.clips(model, PROMPT)
    ids, llm = batch.text_ids[0], model.llm
    table, vocabulary = llm.get_input_embeddings(), model.vocabulary
    speech = model.encode(batch)[0].unpad()[0]
    pieces = [
        table(torch.tensor([vocabulary.bos, vocabulary.id_of("<audio>")])),
        speech,
        table(torch.tensor([vocabulary.id_of("</audio>"), *vocabulary.encode(PROMPT)])),
        table(ids.target),
    ]
    embeddings = torch.cat(pieces)[None]
    labels = torch.full(embeddings.shape[:2], -100)
    labels[0, -len(ids.target) :] = ids.target
    expected = llm(inputs_embeds=embeddings, labels=labels).loss
    found = model.loss(batch)
    torch.testing.assert_close(found.cross_entropy / found.num_tokens, expected)
    assert ids.target[-1] == vocabulary.eos


def test_only_adapters_and_projectors_are_trained(made: dict[str, str]) -> None:
    model = models.build(made, "audiovisual")
    trained = {name for name, p in model.named_parameters() if p.requires_grad}
    assert trained
    assert all("lora_" in name or name.startswith("projectors.") for name in trained)
    assert {name for name in trained if name.startswith("projectors.")} == {
        f"projectors.{stream}.{layer}.{kind}"
        for stream in ("audio", "video")
        for layer in (0, 2)
        for kind in ("weight", "bias")
    }


def test_frozen_modules_stay_in_eval_mode(made: dict[str, str]) -> None:
    model = models.build(made, "audiovisual", lora_dropout=0.1, use_lora_avhubert=True)
    model.train()
    training = {name for name, module in model.named_modules() if module.training}
    assert "projectors.audio" in training
    assert any(name.endswith("lora_dropout.default") for name in training)
    assert not [name for name in training if name.startswith("encoders") and "lora_" not in name]
    assert not [name for name in training if name.startswith("llm") and "lora_" not in name]
    model.eval()
    assert not [name for name, module in model.named_modules() if module.training]


@pytest.mark.parametrize(
    ("name", "prefix"),
    [("encoder", "encoders."), ("llm", "llm."), ("encoders.video.encoder.encoder.layers.1", "")],
)
def test_unfreezing(made: dict[str, str], name: str, prefix: str) -> None:
    model = models.build(made, "video")
    unfreeze(model, [name])
    chosen = [p for key, p in model.named_parameters() if key.startswith(prefix or f"{name}.")]
    assert chosen
    assert all(p.requires_grad and p.dtype == torch.float32 for p in chosen)


def test_unfreezing_nothing_is_an_error(made: dict[str, str]) -> None:
    with pytest.raises(
        ValueError, match=r"--unfrozen_modules encodr: no parameter is called so; take encoder"
    ):
        unfreeze(models.build(made, "video"), ["encodr"])


def test_checkpoint_round_trip(made: dict[str, str], tmp_path: Path) -> None:
    model = models.build(made, "audiovisual")
    folder = tmp_path / "epoch=00"
    checkpoint.write(folder, checkpoint.saved_state(model), {"goal": {"modality": "audiovisual"}})
    assert sorted(path.name for path in folder.iterdir()) == ["config.yaml", "model.safetensors"]
    assert checkpoint.read_options(folder) == {"goal": {"modality": "audiovisual"}}

    state = checkpoint.read_state(folder)
    assert all(key.startswith(("projectors.", "added_tokens.")) or "lora_" in key for key in state)
    other = models.build(made, "audiovisual", seed=7)
    batch = models.clips(model, PROMPT)[0]
    expected = model.loss(batch).cross_entropy
    assert abs(float(other.loss(batch).cross_entropy - expected)) > 1e-3
    checkpoint.load_saved_state(other, state)
    assert torch.equal(other.loss(batch).cross_entropy, expected)


def test_what_was_trained_once_is_saved_for_ever(made: dict[str, str]) -> None:
    """A second training that freezes the encoder must not lose what the first one did to it."""
    first = models.build(made, "video", unfrozen_modules=("encoder",))
    state = checkpoint.saved_state(first)
    assert any(key.startswith("encoders.") for key in state)
    assert any(key.endswith("running_mean") for key in state)
    second = models.build(made, "video")
    checkpoint.load_saved_state(second, state)
    assert checkpoint.saved_state(second).keys() == state.keys()


def test_a_checkpoint_of_another_model_is_refused(made: dict[str, str]) -> None:
    state = checkpoint.saved_state(models.build(made, "audio"))
    with pytest.raises(ValueError, match=r"missing: projectors\.video.*unexpected: projectors\.audio"):
        checkpoint.load_saved_state(models.build(made, "video"), state)
    narrow = models.build(made, "audio", intermediate_size=8)
    with pytest.raises(ValueError, match=r"projectors\.audio\.0\.bias is \[24\], the model's \[8\]"):
        checkpoint.load_saved_state(narrow, state)


def test_wrong_checkpoint_paths(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no such checkpoint; expected a folder with"):
        checkpoint.read_state(tmp_path / "nowhere")
    with pytest.raises(ValueError, match=r"found no config\.yaml"):
        checkpoint.read_options(tmp_path)
    (tmp_path / "config.yaml").write_text("!!python/object/apply:os.system ['touch HACKED']")
    with pytest.raises(ValueError, match="not the config of a checkpoint"):
        checkpoint.read_options(tmp_path)
    assert not (tmp_path / "HACKED").exists()
    (tmp_path / "model.safetensors").write_bytes(b"\x80\x04not tensors")
    with pytest.raises(ValueError, match="not a safetensors file"):
        checkpoint.read_state(tmp_path)


def test_stream_dropout_drops_one_stream(made: dict[str, str]) -> None:
    model = models.build(made, "audiovisual", modality_dropout=1.0)
    batch: Batch = models.joined(models.clips(model, PROMPT))
    both = [padded.lengths for padded in model.encode(batch)]
    model.train()
    torch.manual_seed(0)
    audio, video = (padded.lengths for padded in model.encode(batch))
    assert (both[0] > 0).all()
    assert (both[1] > 0).all()
    assert ((audio == 0) ^ (video == 0)).all()
    loss = model.loss(batch)
    (loss.cross_entropy / loss.num_tokens).backward()
    assert all(p.grad is not None for p in model.parameters() if p.requires_grad)


@pytest.mark.parametrize("modality", ["audiovisual", "audiovisual_avhubert"])
def test_a_medium_that_is_not_there_is_a_stream_of_length_zero(made: dict[str, str], modality: str) -> None:
    """As stream dropout takes it away; without the encoder of the missing stream having run."""
    model = models.build(made, modality)
    batch = models.joined(models.clips(model, PROMPT))
    for index, medium in enumerate(("audio", "video")):
        tokens = model.encode(batch)
        dropped = [
            Padded(p.values, p.lengths.masked_fill(torch.tensor(stream != index), 0))
            for stream, p in enumerate(tokens)
        ]
        alone = replace(batch, inputs={medium: batch.inputs[medium]})
        found = model.encode(alone)
        assert [p.lengths.tolist() for p in found] == [p.lengths.tolist() for p in dropped]
        expected = model.generate(batch, BeamSearch(num_beams=2, max_new_tokens=4), dropped)
        hypotheses = model.generate(alone, BeamSearch(num_beams=2, max_new_tokens=4))
        assert [[h.ids for h in clip] for clip in hypotheses] == [[h.ids for h in clip] for clip in expected]
        torch.testing.assert_close(
            [clip[0].score for clip in hypotheses], [clip[0].score for clip in expected], atol=1e-4, rtol=1e-4
        )


def test_one_av_hubert_and_one_projector_do_with_one_medium(made: dict[str, str]) -> None:
    model = models.build(made, "audiovisual_avhubert", single_projector_avhubert=True)
    batch = models.clips(model, PROMPT)[0]
    both = model.encode(batch)[0]
    for medium in ("audio", "video"):
        alone = model.encode(replace(batch, inputs={medium: batch.inputs[medium]}))[0]
        assert alone.lengths.tolist() == both.lengths.tolist()
        assert not torch.allclose(alone.values, both.values)


def test_gradient_checkpointing_changes_nothing(made: dict[str, str]) -> None:
    gradients = []
    for switch in (False, True):
        model = models.build(made, "audio", gradient_checkpointing=switch)
        model.train()
        model.loss(models.joined(models.clips(model, PROMPT))).cross_entropy.backward()
        gradients.append({n: p.grad for n, p in model.named_parameters() if p.requires_grad})
        layers = [m for m in model.llm.modules() if getattr(m, "gradient_checkpointing", False)]
        assert bool(layers) == switch
    assert gradients[0].keys() == gradients[1].keys()
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], gradient, atol=1e-5, rtol=1e-4)


def test_tied_and_untied_rows_of_added_tokens(tmp_path: Path) -> None:
    from tests import tiny

    for tied in (True, False):
        made = models.folders(tmp_path / str(tied))
        made["llm"] = tiny.llm(tmp_path / f"llm{tied}", tied=tied)
        model = models.build(made, "audio")
        keys = {key for key in checkpoint.saved_state(model) if key.startswith("added_tokens.")}
        assert keys == (
            {"added_tokens.embedding"} if tied else {"added_tokens.embedding", "added_tokens.head"}
        )
        again = models.build(made, "audio", seed=99)
        for key in keys:  # the rows come from a seed of their own
            assert torch.equal(checkpoint.saved_state(model)[key], checkpoint.saved_state(again)[key])
        assert (
            model.vocabulary.decode([*model.vocabulary.encode("hello world"), *model.vocabulary.added])
            == "hello world"
        )


def test_lightning_puts_what_is_trained_into_training_mode(made: dict[str, str]) -> None:
    """Pretrained models arrive in eval mode: gradient checkpointing and dropout need more than that."""
    from llama_avsr.lightning.module import SpeechLLMModule

    model = models.build(made, "audio", gradient_checkpointing=True, unfrozen_modules=("encoder", "peft_llm"))
    module = SpeechLLMModule(model)
    assert not model.encoders["audio"].training
    module.on_fit_start()
    assert model.encoders["audio"].encoder.layers[0].training
    layers = model.llm.get_decoder().layers
    assert len(layers) == 2
    assert all(layer.training and layer.gradient_checkpointing for layer in layers)


def test_label_smoothing_spreads_the_target_in_training_alone(made: dict[str, str]) -> None:
    plain, smooth = (models.build(made, "video", label_smoothing=share) for share in (0.0, 0.2))
    (batch, *_) = models.clips(plain, PROMPT)
    expected = plain.loss(batch).cross_entropy
    assert torch.equal(smooth.loss(batch).cross_entropy, expected)
    # The smoothed loss by its definition: a fifth of the target is spread over the vocabulary.
    (tokens,) = smooth.encode(batch)
    embeddings = torch.cat(smooth.parts(batch.text_ids, [tokens], with_target=True)[0])[None]
    target = batch.text_ids[0].target
    log_probs = smooth.llm(inputs_embeds=embeddings).logits[0, -len(target) - 1 : -1].log_softmax(-1)
    picked = log_probs[torch.arange(len(target)), target]
    by_hand = -(0.8 * picked + 0.2 * log_probs.mean(-1)).sum()
    smooth.train()
    torch.testing.assert_close(smooth.loss(batch).cross_entropy, by_hand, atol=1e-4, rtol=1e-5)


def test_mean_over_clips_weighs_short_and_long_alike(made: dict[str, str]) -> None:
    by_token = models.build(made, "video")
    by_clip = models.build(made, "video", loss_reduction="utterance")
    alone = models.clips(by_token, PROMPT)
    means = [by_token.loss(batch) for batch in alone]
    expected = torch.stack([loss.cross_entropy / loss.num_tokens for loss in means]).mean()
    found = by_clip.loss(models.joined(alone))
    assert found.weight == 3
    torch.testing.assert_close(found.cross_entropy / found.weight, expected, atol=1e-5, rtol=1e-5)


def test_unknown_words_are_not_learnt_by_instruction(made: dict[str, str]) -> None:
    """VSP-LLM ignores the id that it pads with."""
    model = models.build(made, "video", task="translation", compression_mode="units")
    (batch, *_) = models.clips(model, PROMPT, layout=Instruction("hello {spoken} ", "quick {written} "))
    before = model.loss(batch)
    batch.text_ids[0].target[2] = model.vocabulary.unknown
    after = model.loss(batch)
    assert after.num_tokens == before.num_tokens - 1 == len(batch.text_ids[0].target) - 1


def test_encoders_wait(made: dict[str, str]) -> None:
    """A trained encoder that waits is in eval mode and gets no gradient; then it learns."""
    model = models.build(made, "video", unfrozen_modules=("peft_llm", "encoder"))
    (batch, *_) = models.clips(model, PROMPT)
    model.hold_encoders(True)
    model.train()
    assert not any(module.training for module in model.encoders.modules())
    model.loss(batch).cross_entropy.backward()
    encoder = [parameter for parameter in model.encoders.parameters() if parameter.requires_grad]
    assert encoder
    assert all(parameter.grad is None for parameter in encoder)
    assert all(parameter.grad is not None for parameter in model.projectors.parameters())
    model.hold_encoders(False)
    assert model.encoders["video"].training
    model.loss(batch).cross_entropy.backward()
    assert any(parameter.grad is not None for parameter in encoder)


def test_a_folder_may_be_called_as_an_encoder_is(
    made: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    asked = models.options({**made, "audio": "whisper"}, "audio", audio="audio")
    Path("whisper").symlink_to(made["whisper"])
    assert build_model(asked).encoders["audio"].dim == 16
    Path("whisper").unlink()
    with pytest.raises(ValueError, match=r"--audio-encoder-name whisper: .* expected whisper:\["):
        build_model(asked)
