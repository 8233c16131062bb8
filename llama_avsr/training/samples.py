"""A table of sample predictions after each validation, to be read, watched and listened to."""

from __future__ import annotations

from collections.abc import Callable, Collection

import pytorch_lightning as pl

from datamodules.languages import Direction
from datamodules.media import load_audio, load_video
from llama_avsr.evaluation.metrics import metric
from llama_avsr.lightning.loggers import Sample, log_samples
from llama_avsr.lightning.module import Decoded, SpeechLLMModule
from llama_avsr.tasks import wer_or_bleu


class SampleTable(pl.Callback):
    """media: which of "audio", "video" to show. metric: name of the metric of (spoken, written) languages."""

    def __init__(self, media: Collection[str], metric: Callable[[Direction], str] = wer_or_bleu) -> None:
        self.media = media
        self.metric = metric

    def on_validation_end(self, trainer: pl.Trainer, pl_module: SpeechLLMModule) -> None:
        if pl_module.samples and trainer.is_global_zero:
            log_samples(
                trainer.loggers, [self._sample(clip) for clip in pl_module.samples], trainer.global_step
            )

    def _sample(self, clip: Decoded) -> Sample:
        utterance, hypothesis = clip.utterance, clip.hypotheses[0][0]
        audio = video = None
        if "audio" in self.media:
            audio = load_audio(utterance.audio_path, utterance.video_path).numpy()
        if "video" in self.media:
            video = load_video(utterance.video_path, utterance.num_frames).numpy()
        return Sample(
            id=utterance.id,
            reference=utterance.text,
            hypothesis=hypothesis,
            scores=metric(self.metric(utterance.languages)).sample_score(utterance.text, hypothesis),
            audio=audio,
            video=video,
        )
