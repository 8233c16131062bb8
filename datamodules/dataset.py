"""One label file's clips: from an item of the sampler to what the collator takes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor
from torch.utils.data import Dataset

from datamodules.batch import Example, TextIds, Utterance
from datamodules.damage import DAMAGES, Damage
from datamodules.media import MediaError, load_audio, load_video
from datamodules.sampler import Item
from datamodules.seeding import generator
from datamodules.table import Utterances
from datamodules.transforms import AudioTransform, VideoTransform

MEDIA = ("audio", "video")
MAX_SUBSTITUTES = 20
"""Clips tried in place of a batch that lost all of its own."""


@dataclass(frozen=True)
class BrokenClip:
    """A clip that could not be read."""

    utterance: Utterance
    reason: str

    def __str__(self) -> str:
        return f"{self.utterance.source}: {self.reason}"


class ClipDataset(Dataset[Example]):
    """Clips with their media read, transformed and prepared.

    Everything random about a clip depends on (seed, epoch, utterance id) alone: not on the worker, the batch
    or the clips before it.

    media: which of "audio" and "video" are read. With both, sound is cut or padded to 640 samples a frame.
    prepare_audio: the encoder's own last step, waveform [N] to [T, ...]; None keeps the waveform.
    encode_text: the task's token ids.
    draws: after so many epochs a clip is drawn as in the first again; None: never.
    damage: its share of the picture, done before all else.
    """

    def __init__(
        self,
        utterances: Sequence[Utterance],
        media: Sequence[str],
        encode_text: Callable[[Utterance], TextIds],
        video_transform: VideoTransform,
        audio_transform: AudioTransform,
        prepare_audio: Callable[[Tensor], Tensor] | None = None,
        seed: int = 0,
        draws: int | None = None,
        damage: Damage = DAMAGES["none"],
    ) -> None:
        if not media or set(media) - set(MEDIA):
            raise ValueError(f"expected media out of {', '.join(MEDIA)}, found {list(media)}")
        self.utterances = Utterances.of(utterances)
        self.media = tuple(media)
        self.encode_text = encode_text
        self.video_transform = video_transform
        self.audio_transform = audio_transform
        self.prepare_audio = prepare_audio
        self.seed = seed
        self.draws = draws
        self.damage = damage
        self.begins: Callable[[int | None], None] = _unwatched
        """Told of each clip that is begun, by its place; of None at the end of a batch."""

    def __len__(self) -> int:
        return len(self.utterances)

    def __getitem__(self, item: Item) -> Example:
        """Raises MediaError where the clip's files cannot be used."""
        epoch, index = item
        epoch = epoch if self.draws is None else epoch % self.draws
        utterance = self.utterances[index]
        inputs: dict[str, Tensor] = {}
        num_frames = None
        if "video" in self.media:
            rng = generator(self.seed, epoch, utterance.id, "video")
            crop = partial(self.video_transform.crop, rng=rng)
            frames = load_video(utterance.video_path, utterance.num_frames, crop)
            _check_runs(utterance, len(frames))
            if self.damage.picture is not None:
                damaging = generator(self.seed, epoch, utterance.id, "damage")
                frames = self.damage.picture(frames, damaging)
            inputs["video"] = self.video_transform.values(frames, rng)
            num_frames = len(frames)
        if "audio" in self.media:
            rng = generator(self.seed, epoch, utterance.id, "audio")
            waveform = load_audio(utterance.audio_path, utterance.video_path, utterance.num_frames)
            waveform = self.audio_transform(waveform, rng, num_frames, utterance)
            inputs["audio"] = waveform if self.prepare_audio is None else self.prepare_audio(waveform)
        return Example(utterance=utterance, inputs=inputs, text_ids=self.encode_text(utterance))

    def __getitems__(self, items: Sequence[Item]) -> list[Example | BrokenClip]:
        """A whole batch, as the loader asks for it: a broken clip leaves a note in its place.

        If every clip is broken, one of like length stands in, so that each rank still has its batch.
        """
        clips = [self._try(item) for item in items]
        if not any(isinstance(clip, Example) for clip in clips):
            for item in self._substitutes(items):
                clips.append(self._try(item))
                if isinstance(clips[-1], Example):
                    break
        self.begins(None)
        return clips

    def _try(self, item: Item) -> Example | BrokenClip:
        self.begins(item[1])
        try:
            return self[item]
        except MediaError as error:
            return BrokenClip(self.utterances[item[1]], str(error))

    def _substitutes(self, items: Sequence[Item]) -> Iterator[Item]:
        """The clips next in length below the batch's longest, which keep it within the frame budget."""
        taken = {index for _, index in items}
        lengths = torch.from_numpy(self.utterances.num_frames)
        longest = lengths[list(taken)].max()
        order = torch.argsort(lengths, descending=True, stable=True).tolist()
        candidates = (i for i in order if lengths[i] <= longest and i not in taken)
        for _, index in zip(range(MAX_SUBSTITUTES), candidates, strict=False):
            yield items[0][0], index


def _unwatched(index: int | None) -> None:
    """Nobody asks what is being read."""


def _check_runs(utterance: Utterance, num_frames: int) -> None:
    # A frame or two less is no harm to a video, but each run of units is a stretch of frames.
    if utterance.run_lengths is not None and sum(utterance.run_lengths) != num_frames:
        raise MediaError(
            f"{utterance.video_path}: found {num_frames} frames, expected the "
            f"{sum(utterance.run_lengths)} that its runs of units cover; regenerate the units from this video"
        )
