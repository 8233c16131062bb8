"""Options of transcribe.py alone: its files, and its page in the browser."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from llama_avsr.options.fields import group, option
from llama_avsr.options.values import NonNegativeFloat, PositiveFloat, PositiveInt, Range

TRANSCRIBING = ("transcribe",)


@group(programs=TRANSCRIBING)
class TranscribingOptions:
    """Transcription"""

    videos: tuple[Path, ...] = option((), positional=True)
    """Videos, sound files, or folders of them (searched recursively)."""
    already_cropped: bool = False
    """The videos are mouth crops already (96x96, as prepare_data.py crop writes them): skip face detection.
    Their sound is a .wav file of the same name beside them, or their own track."""
    audio_track: PositiveInt | None = None
    """Number of the audio track to use, from 1, for recordings with several. Default: the one marked default,
    otherwise the first that is not silent; the log says which."""
    format: tuple[Literal["txt", "json", "srt", "vtt"], ...] = ("txt", "json", "srt", "vtt")
    """Formats to write to --output-dir for each video: NAME.txt, ..."""
    word_times: bool = False
    """Write a subtitle for each word. The model needs an aligner: `llama-avsr align`. JSON has the times of
    words either way."""
    save_mouth_video: bool = False
    """Also write NAME.mouth.mp4: the mouth as the model sees it, black where there is none."""
    save_overlay: bool = False
    """Also write NAME.overlay.mp4: the video with a box around the mouth, and subtitles."""
    min_pause_seconds: PositiveFloat = 0.5
    """Minimum pause of the voice that splits a recording into segments."""
    max_segment_seconds: PositiveFloat = 15.0
    """Maximum length of a segment. Longer speech without a pause is split where it is quietest."""
    segment_margins: tuple[NonNegativeFloat, NonNegativeFloat] = (0.04, 0.12)
    """Seconds of silence to keep before and after the speech of a segment. Match the training clips: use more
    for a model trained on loosely cut ones."""


@group(programs=TRANSCRIBING)
class ServingOptions:
    """Page in the browser"""

    serve: bool = False
    """Serve a web page for transcribing uploads and recordings, instead of VIDEOS. --noise-file adds a choice
    of noise levels."""
    host: str = "127.0.0.1"
    """Address to listen on. 0.0.0.0 accepts other machines; there is no password."""
    port: Annotated[int, Range(1, 65535)] = 7860
    """Port to listen on."""
    examples: Path | None = None
    """Folder of example videos to offer on the page (at most 20, evenly chosen)."""
