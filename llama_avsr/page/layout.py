"""How the page is laid out, and what its buttons do."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import gradio as gr

from llama_avsr.faults import explain
from llama_avsr.page import show
from llama_avsr.page.answer import AUTO, CROPPED, KEPT_SECONDS, Answerer, Request, in_words
from llama_avsr.page.examples import Examples, looks_cropped
from llama_avsr.page.live import HEAD
from llama_avsr.transcription.modality import named
from llama_avsr.transcription.pipeline import Transcriber

LOGGER = logging.getLogger(__name__)
TITLE = "Transcription"
SNRS_DB = (10.0, 5.0, 0.0, -5.0)
MAX_WAITING = 64
"""Requests in the queue."""
MAX_FILE_SIZE = "2 GB"
LINE_SECONDS = 3.0
"""From one look at the queue to the next."""
DOING = {"faces": "Looking for faces", "decode": "Writing"}
CSS = (Path(__file__).parent / "page.css").read_text(encoding="utf-8")
THEME = gr.themes.Base(
    primary_hue=gr.themes.colors.blue,
    neutral_hue=gr.themes.colors.slate,
    # Plain names: fonts are the visitor's own, nothing is fetched.
    font=["system-ui", "sans-serif"],
    font_mono=["ui-monospace", "monospace"],
)
LOOKS = {"theme": THEME, "css": CSS, "head": HEAD}
"""For `launch`: gradio wants them there."""


def build(
    transcriber: Transcriber, *, noise_path: Path | None = None, examples_dir: Path | None = None
) -> gr.Blocks:
    """The page. Launch it with `**LOOKS`; requests are answered one at a time.

    noise_path: sound file that visitors may mix in. examples_dir: folder of clips to try.
    Raises ValueError for a noise that cannot be read, or a folder without a video.
    """
    answerer = Answerer(transcriber, noise_path)
    with gr.Blocks(
        title=TITLE, analytics_enabled=False, delete_cache=(int(KEPT_SECONDS) // 6, int(KEPT_SECONDS))
    ) as page:
        gr.HTML(show.heading(transcriber.trained.name, named(transcriber.trained.media)))
        with gr.Row():
            with gr.Column(min_width=300):
                inputs = _Inputs(answerer, Examples(examples_dir))
            with gr.Column(min_width=300):
                outputs = _Outputs()
        _Live(answerer)
        line = gr.HTML(show.waiting(0), elem_id="line")
        _quietly(gr.Timer(LINE_SECONDS).tick, lambda: show.waiting(len(page._queue)), None, line)
        inputs.button.click(
            functools.partial(_respond, answerer),
            inputs.all,
            outputs.all,
            concurrency_limit=1,
            show_progress_on=outputs.words,
            scroll_to_output=True,
            api_name="transcribe",
        )
    return page.queue(max_size=MAX_WAITING)


class _Inputs:
    """The left side."""

    def __init__(self, answerer: Answerer, examples: Examples) -> None:
        self.tab = gr.State("video")
        with gr.Tabs():
            with gr.Tab("Video") as video_tab:
                # Mirrored, lips would move the wrong way.
                self.video = gr.Video(
                    label="Video, a file or recorded",
                    sources=["upload", "webcam"],
                    webcam_options=gr.WebcamOptions(mirror=False),
                    include_audio=True,
                    elem_id="video-input",
                )
            with gr.Tab("Sound", visible=answerer.hears) as sound_tab:
                self.sound = gr.Audio(
                    label="Sound, a file or recorded",
                    sources=["upload", "microphone"],
                    type="filepath",
                    elem_id="sound-input",
                )
        self.example = gr.Dropdown(
            [("choose a clip", ""), *((name, name) for name in examples.names)],
            value="",
            label="Or try an example",
            visible=bool(examples.names),
            elem_id="example",
        )
        self.cropped = gr.Checkbox(
            answerer.transcriber.settings.already_cropped,
            label=CROPPED,
            info="No face is looked for. Ticked by itself for small square videos.",
            visible=answerer.reads_lips,
            elem_id="cropped",
        )
        modalities = answerer.modalities or {AUTO: AUTO}
        self.modality = gr.Radio(
            [(words, name) for name, words in modalities.items()],
            value=AUTO,
            label="Use",
            visible=bool(answerer.modalities),
            elem_id="modality",
        )
        self.snr = gr.Radio(
            [("none", "clean"), *((f"{show.minus(snr, 0)} dB", f"{snr:g}") for snr in SNRS_DB)],
            value="clean",
            label="Noise",
            info="Mixed into the sound; at 0 dB it is as loud as the speech.",
            visible=answerer.has_noise,
            elem_id="noise",
        )
        gr.HTML(show.limits(MAX_FILE_SIZE, answerer.max_seconds, MAX_WAITING, KEPT_SECONDS), elem_id="limits")
        self.button = gr.Button("Transcribe", variant="primary", elem_id="transcribe")
        self.all = [self.tab, self.video, self.sound, self.modality, self.cropped, self.snr]
        _quietly(video_tab.select, lambda: "video", None, self.tab)
        _quietly(sound_tab.select, lambda: "sound", None, self.tab)
        _quietly(self.video.change, _tick, [self.video, self.cropped], self.cropped)
        _quietly(
            self.example.input,
            examples.show,
            self.example,
            self.video,
        )


class _Live:
    """Below: words while they are spoken. The browser does it, with `page.live`."""

    def __init__(self, answerer: Answerer) -> None:
        wants_picture = "true" if answerer.reads_lips else "false"
        gr.Button("Live captions", elem_id="live").click(
            None,
            None,
            None,
            js=f"() => window.liveCaptions.toggle({wants_picture})",
            api_visibility="private",
        )
        gr.HTML(
            '<p id="live-status" role="status"></p><p id="live-captions" aria-live="polite"></p>',
            elem_id="live-place",
        )


class _Outputs:
    """The right side."""

    def __init__(self) -> None:
        self.status = gr.HTML(elem_id="status")
        self.words = gr.Textbox(
            label="Words",
            placeholder="They appear here.",
            lines=3,
            interactive=False,
            buttons=["copy"],
            elem_id="words",
        )
        self.segments = gr.HTML(elem_id="segments")
        self.mouth = gr.Video(
            label="What the model saw and heard",
            interactive=False,
            height=220,
            visible=False,
            elem_id="mouth",
        )
        self.files = gr.Files(
            label="The words as text, JSON, subtitles", interactive=False, visible=False, elem_id="files"
        )
        self.times = gr.HTML(elem_id="times")
        self.all = [self.status, self.words, self.segments, self.mouth, self.files, self.times]


def _respond(
    answerer: Answerer,
    tab: str,
    video: str | None,
    sound: str | None,
    modality: str,
    cropped: bool,
    snr: str,
    progress: gr.Progress = gr.Progress(),  # noqa: B008  (gradio finds it by its default)
) -> tuple[Any, ...]:
    """(status, words, segments, mouth video, files, times)."""
    recording = sound if tab == "sound" else video
    if recording is None:
        return _failed(f"There is no {tab} yet: drop a file, or record one.")
    path = Path(recording)
    request = Request(path, modality, cropped and tab == "video", None if snr == "clean" else float(snr))
    try:
        answer = answerer.answer(request, _Shown(progress))
    except (ValueError, OSError) as error:
        LOGGER.info("%s", error)
        return _failed(in_words(error, path))
    except Exception as error:  # a visitor gets a sentence, whatever happens; the log has the rest
        fault = explain(error)
        if fault.is_users:
            LOGGER.warning("%s: %s", path, fault.text)
            return _failed(in_words(ValueError(fault.text), path))
        LOGGER.exception("%s could not be transcribed", path)
        return _failed("Something went wrong that is not the recording's fault: see the server's log.")
    transcript = answer.transcript
    return (
        show.status(transcript),
        transcript.text,
        show.segments(transcript),
        _shown(answer.mouth_video),
        _shown(answer.files),
        show.times(transcript),
    )


def _failed(text: str) -> tuple[Any, ...]:
    return show.problem(text), "", "", _shown(None), _shown(None), ""


def _shown(files: Path | Sequence[Path] | None) -> Any:
    """A component's new value; one that is empty is hidden."""
    value = str(files) if isinstance(files, Path) else files and [str(file) for file in files]
    return gr.update(value=value, visible=bool(value))


class _Shown:
    """Tells the visitor how far the work is."""

    def __init__(self, progress: gr.Progress) -> None:
        self._progress = progress
        self._done: dict[str, float] = {}

    def __call__(self, stage: str, done: float, total: float) -> None:
        self._done[stage] = self._done.get(stage, 0.0) + done
        if total:
            self._progress(min(1.0, self._done[stage] / total), desc=DOING.get(stage, stage))


def _tick(video: str | None, cropped: bool) -> bool:
    return cropped if video is None else looks_cropped(Path(video))


def _quietly(event: Callable[..., Any], function: Callable[..., Any], inputs: Any, outputs: Any) -> None:
    """Do something small at once: no queue, no progress, no place in the API."""
    event(function, inputs, outputs, queue=False, show_progress="hidden", api_visibility="private")
