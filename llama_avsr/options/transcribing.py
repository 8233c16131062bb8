"""Options of transcribe.py alone: its files, its page in the browser, its server."""

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
    """Address that the page or the server of --serve-api listens on. 0.0.0.0 accepts other machines; the page
    has no password, the server may ask for a key (--api-key-file)."""
    port: Annotated[int, Range(1, 65535)] = 7860
    """Port to listen on."""
    examples: Path | None = None
    """Folder of example videos to offer on the page (at most 20, evenly chosen)."""


@group(programs=TRANSCRIBING)
class ApiOptions:
    """Server"""

    serve_api: bool = False
    """Serve OpenAI's transcription interface over HTTP (POST /v1/audio/transcriptions), instead of VIDEOS."""
    api_key_file: Path | None = option(None, private=True)
    """File with the API keys that are accepted, one on each line. The environment variable
    LLAMA_AVSR_API_KEY holds one, too. Default: no key is asked for."""
    model_id: str | None = None
    """Name that requests call the model by. Default: the last two parts of --pretrained-model-path."""
    max_upload_mb: PositiveFloat = 512.0
    """Largest request, in megabytes."""
    max_recording_seconds: PositiveFloat = 3600.0
    """Longest recording of a request."""
    max_requests: PositiveInt = 64
    """Requests that are taken on at a time, those that wait included; more are told to come back."""
    max_request_seconds: PositiveFloat = 600.0
    """Longest time for an upload, and from its end to the answer."""
    readers: PositiveInt = 2
    """Threads that read recordings and find faces in them. One more thread runs the model."""
