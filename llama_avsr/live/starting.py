"""From a loaded model and a source to a live recording."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from datamodules.batch import VIDEO_FPS
from llama_avsr.live.encoding import Context
from llama_avsr.live.feed import CroppedStream, Feed, MouthStream
from llama_avsr.live.passing import Live
from llama_avsr.live.policy import Policy
from llama_avsr.live.state import Rules
from llama_avsr.options import LiveOptions
from llama_avsr.transcription.modality import Media, choose
from llama_avsr.transcription.mouths import FaceSettings
from llama_avsr.transcription.pipeline import Settings, Transcriber


@dataclass(frozen=True)
class Pace:
    """How live captions are made, in seconds."""

    step_s: float = LiveOptions.live_step
    context_s: tuple[float, float] = LiveOptions.live_context
    policy: Policy = field(
        default_factory=lambda: Policy(LiveOptions.live_agreement, LiveOptions.live_probability)
    )

    @classmethod
    def of(cls, options: LiveOptions) -> Pace:
        policy = Policy(options.live_agreement, options.live_probability)
        return cls(options.live_step, options.live_context, policy)


def live_of(transcriber: Transcriber, pace: Pace, now: Callable[[], float]) -> Live:
    """now: the clock of the recording."""
    settings = transcriber.settings
    rules = Rules(
        cutting=settings.cutting,
        step=max(1, round(pace.step_s * VIDEO_FPS)),
        context=Context(*(round(seconds * VIDEO_FPS) for seconds in pace.context_s)),
        policy=pace.policy,
        languages=settings.languages,
    )
    return Live(transcriber.trained, transcriber.search, rules, now)


def feed_of(transcriber: Transcriber, lacking: dict[str, str]) -> tuple[Feed, str]:
    """What is made of a source that lacks some media, each for a reason; and why that, in words.

    Raises UnusableError where the model can do nothing with the rest.
    """
    trained, settings = transcriber.trained, transcriber.settings
    choice = choose(trained.media, trained.may_drop, lacking, settings.asked)
    mouths = _mouths(settings) if "video" in choice.media else None
    return Feed(choice.media, trained.may_drop, mouths), choice.reason


def wants_picture(settings: Settings, media: Media) -> bool:
    return "video" in (media if settings.asked is None else settings.asked)


def _mouths(settings: Settings) -> MouthStream:
    return CroppedStream() if settings.already_cropped else _face_stream(settings.faces)


def _face_stream(faces: FaceSettings) -> MouthStream:
    from preparation.faces import detectors  # OpenCV comes with an extra
    from preparation.faces.live import LiveMouths

    options = detectors.DetectorOptions(faces.detector, faces.detector_options)
    return LiveMouths(detectors.build(options), faces.speaker, faces.detect_every)
