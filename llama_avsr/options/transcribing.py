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
    """Videos, sound files, or folders of them (searched to the bottom)."""
    already_cropped: bool = False
    """The videos are mouth crops (96x96, as prepare_data.py crop writes them): no face is looked for. Their
    sound is a .wav of the same name beside them, or their own track."""
    audio_track: PositiveInt | None = None
    """Sound track to use of videos that have several, from 1. Default: the one marked default, or else the
    first that is not silent; the log says which."""
    format: tuple[Literal["txt", "json", "srt", "vtt"], ...] = ("txt", "json", "srt", "vtt")
    """Files that --output-dir gets for each video: NAME.txt, ..."""
    save_mouth_video: bool = False
    """Also write NAME.mouth.mp4: the mouth as the model saw it, black where it saw none."""
    save_overlay: bool = False
    """Also write NAME.overlay.mp4: the video with the mouth's box and the words as subtitles."""
    min_pause_seconds: PositiveFloat = 0.5
    """Shortest silence at which a recording is cut into segments."""
    max_segment_seconds: PositiveFloat = 15.0
    """Longest segment. Speech without a pause for longer is cut where it is quietest."""
    segment_margins: tuple[NonNegativeFloat, NonNegativeFloat] = (0.04, 0.12)
    """Seconds of silence kept before and after the speech of a segment. Best is what the training clips
    have; with a model trained on loosely cut clips take more."""


@group(programs=TRANSCRIBING)
class ServingOptions:
    """Page in the browser"""

    serve: bool = False
    """Show a page that transcribes what is uploaded or recorded there, in place of VIDEO. --noise-file adds
    a choice of noise."""
    host: str = "127.0.0.1"
    """Address to listen at. 0.0.0.0 lets other machines in: there is no password."""
    port: Annotated[int, Range(1, 65535)] = 7860
    """Port to listen at."""
    examples: Path | None = None
    """Folder of videos to offer (20 of them, evenly chosen)."""
