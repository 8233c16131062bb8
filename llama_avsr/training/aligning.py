"""Give a trained model what finds the times of words, and how sure they are; nothing of the model changes.

The heads learn from the training transcripts and the model's own encoders; the confidence is fitted on what
the model makes of the validation set.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from torch.optim import AdamW
from torch.optim.lr_scheduler import OneCycleLR

from datamodules.batch import VIDEO_FPS, Batch, Padded, Utterance
from datamodules.datamodule import DataModule
from datamodules.media import MediaError, load_audio
from llama_avsr.evaluation.loading import search_of
from llama_avsr.evaluation.metrics.wer import aligned
from llama_avsr.lightning.data import build_datamodule, connect
from llama_avsr.lightning.trainer import denormals_as_zero
from llama_avsr.model.decoding import BeamSearch
from llama_avsr.model.devices import device_of
from llama_avsr.model.speech_llm import SpeechLLM
from llama_avsr.model.views import View
from llama_avsr.options import Options
from llama_avsr.words import file
from llama_avsr.words.aligner import Aligner, Stretch
from llama_avsr.words.confidence import Calibration
from llama_avsr.words.evidence import Evidence, evidence
from llama_avsr.words.spelling import Spelling, plain
from llama_avsr.words.voice import speech_spans

LOGGER = logging.getLogger(__name__)
LR = 3e-3
UNSETTLED_SHARE = 0.5
"""Of the steps, by CTC, which finds out which character is said when: without, the silence around speech may
be taken for characters, and that stays so."""
PAUSE_FRAMES = 5
"""Of 25 a second: a pause so long is told from speech in the sound."""
VOICE_MARGIN_SECONDS = 0.04
"""So far outside of what is heard a word may reach."""
LOG_EVERY = 50
MIN_OF_A_KIND = 5
"""Of right and of wrong words: fewer say nothing of confidence."""


@dataclass(frozen=True)
class Judged:
    """A word that the model wrote, and which word of its clip's transcript that is."""

    clip: str
    """Its utterance's id."""
    evidence: Evidence
    said: int | None
    """Index in the transcript; None where it was not said."""

    @property
    def is_right(self) -> bool:
        return self.said is not None


def add_words(
    model: SpeechLLM, folder: Path, options: Options, steps: int, snrs: Sequence[float | None] = (None,)
) -> Path:
    """Train heads for a model, fit its confidence, and put both into its checkpoint's folder; returns where.

    options: of its training, with data that is there. steps: of the heads. snrs: signal-to-noise ratios (dB)
    that the validation set is decoded at for the confidence, None for clean sound.
    Raises ValueError for what cannot be aligned.
    """
    model.eval()
    with denormals_as_zero():
        aligner = train_aligner(model, options, steps)
        val_file = options.data.val_file
        judged = [word for snr in snrs for word in judge(model, aligner, options, val_file, snr)]
        words = file.WordModel(aligner, fit_confidence(judged))
    file.write(folder, words)
    return folder / file.WORDS


def train_aligner(model: SpeechLLM, options: Options, steps: int) -> Aligner:
    """Raises ValueError where nothing says what is said."""
    data = build_datamodule(options)
    data.augments = False  # what is masked cannot be aligned
    data.setup("fit")
    connect(data, options, model)
    clips = data.utterances["train"]
    said = [clip.text for clip in clips if clip.languages[0] == clip.languages[1]]
    if not said:
        raise ValueError(
            f"{options.data.train_file}: all its texts are translations, which do not say what is said when; "
            "word times need transcripts"
        )
    torch.manual_seed(options.hardware.seed)
    view = max(model.views.values(), key=lambda view: len(_encoders(view)))
    names = _encoders(view)
    aligner = Aligner(
        Spelling.of_texts(said),
        {name: model.encoders[name].dim for name in names},
        {name: model.encoders[name].frame_rate_hz for name in names},
    ).to(device_of(options))
    optimiser = AdamW(aligner.parameters(), lr=LR, weight_decay=0.01)
    schedule = OneCycleLR(optimiser, LR, max(2, steps), pct_start=0.1)
    LOGGER.info("aligner: %d weights, %d steps", sum(p.numel() for p in aligner.parameters()), steps)
    voices = _Voices()
    for step, batch in enumerate(itertools.islice(_batches(data), steps), start=1):
        kept = [i for i, one in enumerate(batch.utterances) if one.languages[0] == one.languages[1]]
        if not kept:
            continue
        with torch.no_grad():
            _, frames = model.encode_with_frames(batch.to(device_of(options)), view)
        chosen = {name: Padded(own.values[kept], own.lengths[kept]) for name, own in frames.items()}
        settled = step > UNSETTLED_SHARE * steps
        clips = [batch.utterances[i] for i in kept]
        loss = aligner.loss(chosen, [clip.text for clip in clips], settled, [voices(clip) for clip in clips])
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(aligner.parameters(), 5.0)
        optimiser.step()
        schedule.step()
        if step % LOG_EVERY == 0:
            LOGGER.info("aligner: step %d of %d, loss of a frame %.3f", step, steps, loss.item())
    return aligner.requires_grad_(False).eval()


class _Voices:
    """Where somebody is heard in a training clip, by its own sound, whatever the model is given of it."""

    def __init__(self) -> None:
        self._known: dict[str, list[Stretch]] = {}

    def __call__(self, clip: Utterance) -> list[Stretch]:
        """Nothing where it has no sound, or nobody is heard in it."""
        if clip.id not in self._known:
            self._known[clip.id] = self._listen(clip)
        return self._known[clip.id]

    def _listen(self, clip: Utterance) -> list[Stretch]:
        try:
            waveform = load_audio(clip.audio_path, clip.video_path, clip.num_frames).numpy()
        except MediaError as error:
            LOGGER.debug("%s: %s", clip.source, error)
            return []
        return [
            (start / VIDEO_FPS - VOICE_MARGIN_SECONDS, end / VIDEO_FPS + VOICE_MARGIN_SECONDS)
            for start, end in speech_spans(waveform, PAUSE_FRAMES)
        ]


def _encoders(view: View) -> list[str]:
    return list(dict.fromkeys(source.encoder for stream in view.streams for source in stream.sources))


def _batches(data: DataModule) -> Iterator[Batch]:
    """Epoch after epoch."""
    loader = data.train_dataloader()
    for epoch in itertools.count():
        data.set_epoch(epoch)
        yield from loader


def judge(
    model: SpeechLLM, aligner: Aligner, options: Options, file_name: str, snr_db: float | None = None
) -> list[Judged]:
    """What the model writes of a label file's clips, word by word. snr_db: with the options' noise."""
    noise = {} if snr_db is None else {"noise_file": options.augmentation.noise_file}
    wanted = {"test_file": (file_name,), "decode_snr_target": ("clean" if snr_db is None else snr_db,)}
    data = build_datamodule(options.updated({"noise_file": None, "test_noise": (), **wanted, **noise}))
    data.setup("test")
    connect(data, options, model)
    search = replace(search_of(options), num_best=search_of(options).num_beams)
    return [word for batch in data.test_dataloader() for word in _judged(model, aligner, batch, search)]


def _judged(model: SpeechLLM, aligner: Aligner, batch: Batch, search: BeamSearch) -> list[Judged]:
    batch = batch.to(next(model.parameters()).device)
    with torch.inference_mode():
        tokens, frames = model.encode_with_frames(batch)
        nbests = model.generate(batch, search, tokens)
        found = evidence(model, aligner, batch, model.view, tokens, frames, nbests, search.length_penalty)
    return [
        Judged(clip.id, word, said)
        for clip, words in zip(batch.utterances, found, strict=True)
        if words is not None and clip.languages[0] == clip.languages[1]
        for word, said in zip(words, said_words(clip.text, [w.text for w in words]), strict=True)
        if plain(word.text)
    ]


def said_words(reference: str, words: Sequence[str]) -> list[int | None]:
    """Which word of the reference each word is, along the cheapest alignment; None where it is none of them.
    Case and punctuation do not count.

    >>> said_words("Set white, now", ["set", "why", "now"])
    [0, None, 2]
    """
    said = [(index, plain(word)) for index, word in enumerate(reference.split()) if plain(word)]
    written = [(index, plain(word)) for index, word in enumerate(words) if plain(word)]
    found: list[int | None] = [None] * len(words)
    if not said or not written:
        return found
    references, hypotheses = iter(said), iter(written)
    for _, _, kind in aligned(" ".join(word for _, word in said), " ".join(word for _, word in written)):
        place = next(references)[0] if kind != "I" else None
        if kind != "D":
            found[next(hypotheses)[0]] = place if kind == "" else None
    return found


def fit_confidence(judged: Sequence[Judged]) -> Calibration | None:
    """None, with a word in the log, where there are too few words of either kind."""
    right = np.array([word.is_right for word in judged], dtype=bool)
    if min(right.sum(), (~right).sum()) < MIN_OF_A_KIND:
        LOGGER.warning(
            "no confidence: found %d right and %d wrong words in the validation set's transcripts, expected "
            "at least %d of each; give a larger --val-file, or --snrs with noise",
            right.sum(),
            (~right).sum(),
            MIN_OF_A_KIND,
        )
        return None
    table = np.array([word.evidence.features for word in judged])
    scaler = StandardScaler().fit(table)
    fitted = LogisticRegression().fit(scaler.transform(table), right)
    weights = fitted.coef_[0] / scaler.scale_
    bias = float(fitted.intercept_[0] - (weights * scaler.mean_).sum())
    LOGGER.info("confidence: fitted on %d right and %d wrong words", right.sum(), (~right).sum())
    return Calibration(tuple(map(float, weights)), bias)
