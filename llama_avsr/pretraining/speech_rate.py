"""Train a speech-rate predictor on the frames of a frozen encoder. Letters: B clips."""

from __future__ import annotations

import math
from pathlib import Path

import torch
from torch import Tensor, nn

from av_hubert import AVHubertConfig
from datamodules.batch import VIDEO_FPS, Batch, Utterance
from llama_avsr.checkpoints import folder as checkpoint
from llama_avsr.compressors import Heard
from llama_avsr.compressors._speech_rate import NUM_HEADS, RATE_HZ, SpeechRatePredictor, save
from llama_avsr.lightning.data import build_datamodule
from llama_avsr.lightning.loggers import finish
from llama_avsr.lightning.module import SpeechLLMModule
from llama_avsr.model.build import build_encoder
from llama_avsr.model.speech_llm import Loss
from llama_avsr.options.speech_rate import SpeechRateOptions
from llama_avsr.pretraining.run import no_text
from llama_avsr.tasks import EAR
from llama_avsr.training.run import fit_and_average, in_run_folder, loggers_of, optimisation_of

FILE = "speech_rate.safetensors"
"""The result, in the folder of the run."""
NEAR = 0.1
"""A clip whose rate is found to within this counts as right."""


class RateReader(nn.Module):
    """A frozen encoder and the predictor that learns; rates are words a second over `average`."""

    encoders_wait = aligning = False

    def __init__(self, encoder: nn.Module, predictor: SpeechRatePredictor, average: float) -> None:
        super().__init__()
        self.encoder = encoder.requires_grad_(False)
        self.predictor = predictor
        self.average = average

    def train(self, mode: bool = True) -> RateReader:
        super().train(mode)
        self.encoder.eval()
        return self

    def rates(self, batch: Batch) -> Tensor:
        """[B]"""
        with torch.no_grad():
            frames = self.encoder(audio=batch.inputs["audio"])
        seconds = torch.tensor([clip.num_frames / VIDEO_FPS for clip in batch.utterances])
        return self.predictor(Heard(seconds, frames, self.encoder.frame_rate_hz).sound_at(RATE_HZ))

    def loss(self, batch: Batch) -> Loss:
        """The sum of squared errors."""
        found = self.rates(batch)
        errors = found - torch.tensor([rate_of(clip, self.average) for clip in batch.utterances]).to(found)
        audio = batch.inputs["audio"]
        num_frames = sum(clip.num_frames for clip in batch.utterances)
        return Loss(
            cross_entropy=errors.square().sum(),
            weight=len(batch),
            num_tokens=len(batch),
            correct=(errors.detach().abs() < NEAR).sum(),
            added={},
            num_speech_tokens=num_frames,
            num_positions=int(audio.lengths.sum()),
            num_padded=audio.values.shape[0] * audio.values.shape[1],
        )


def rate_of(clip: Utterance, average: float) -> float:
    """Words a second of a clip's transcript, over the average."""
    return len(clip.text.split()) / (clip.num_frames / VIDEO_FPS) / average


class SpeechRateModule(SpeechLLMModule):
    """Checkpoints hold the predictor."""

    def state_dict(self, *args: object, **kwargs: object) -> dict[str, Tensor]:
        return self.model.predictor.state_dict()

    def load_state_dict(
        self, state_dict: dict[str, Tensor], strict: bool = True, assign: bool = False
    ) -> None:
        self.model.predictor.load_state_dict(state_dict)


def pretrain(options: SpeechRateOptions) -> None:
    """The work of `llama-avsr pretrain-speech-rate`."""
    in_run_folder(options, _pretrain)


def _pretrain(options: SpeechRateOptions, resume_from: Path | None) -> None:
    encoder = build_encoder(EAR, options, torch.float32)
    datamodule = build_datamodule(options)
    datamodule.encode_text, datamodule.prepare_audio = no_text, encoder.prepare_audio
    datamodule.setup("fit")
    torch.manual_seed(options.hardware.seed)
    predictor = make_predictor(options, encoder.dim)
    module = SpeechRateModule(
        RateReader(encoder, predictor, options.predictor.average_words_per_second),
        optimisation=optimisation_of(options),
        seed=options.hardware.seed,
        max_skipped_steps=options.training.max_skipped_steps,
    )
    parts = {"encoder": encoder, "predictor": predictor}
    loggers = loggers_of(options, resume=resume_from is not None)
    trainer, average = fit_and_average(options, module, datamodule, loggers, parts, resume_from)
    predictor.load_state_dict(checkpoint.read_state(average.folder))
    trainer.validate(module, datamodule=datamodule, verbose=False)
    if trainer.is_global_zero:
        path = options.run_dir / FILE
        save(predictor, path)
        error = math.sqrt(float(trainer.callback_metrics["val/loss"]))
        print(f"held-out error of the average: {error:.3f} of an average speaker's rate (root mean square)")
        print(f"predictor  {path}, for --speech-rate-predictor")
    finish(loggers)


def make_predictor(options: SpeechRateOptions, in_dim: int) -> SpeechRatePredictor:
    """A new one that takes everybody for an average speaker."""
    sizes = options.predictor
    predictor = SpeechRatePredictor(
        in_dim,
        AVHubertConfig(
            num_layers=sizes.predictor_layers,
            dim=sizes.predictor_dim,
            ffn_dim=4 * sizes.predictor_dim,
            num_heads=NUM_HEADS,
            dropout=sizes.predictor_dropout,
            attention_dropout=sizes.predictor_dropout,
        ),
    )
    nn.init.zeros_(predictor.sr_predictor.weight)
    nn.init.ones_(predictor.sr_predictor.bias)  # past the ReLU, where there is a gradient
    return predictor
