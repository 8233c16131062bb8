"""Write down what is said in videos; or show a page in the browser that does, or serve programs that ask."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

from llama_avsr import cli
from llama_avsr.options import Options

SHOWN_HYPOTHESES = 3
"""On the page, unless --nbest says otherwise."""


def main(argv: list[str]) -> int:
    parsed = cli.parse(argv, program="transcribe")
    cli.setup_logging(parsed.options.run.debug)
    check_there(parsed.options.transcribing.videos)
    if parsed.options.serving.serve:
        serve(parsed.options, parsed.explicit)
        return 0
    if parsed.options.captions.live:
        from llama_avsr.live.program import caption

        return caption(parsed.options, parsed.explicit)
    if parsed.options.api.serve_api:
        serve_api(parsed.options, parsed.explicit)
        return 0
    from llama_avsr.transcription.program import run  # heavy: after the flags are known to be right

    return run(parsed.options, parsed.explicit)


def check_there(videos: Sequence[Path]) -> None:
    """Raises ValueError where none of them exists: before anything heavy is imported."""
    if videos and not any(video.exists() for video in videos):
        raise ValueError("\n".join(f"{video}: no such file" for video in videos))


def serve(options: Options, explicit: Collection[str]) -> None:
    """Show the page in the browser until Ctrl-C. Raises ValueError where it cannot be shown."""
    from llama_avsr import page
    from llama_avsr.transcription.loading import load_transcriber

    page.check_installed()
    if "nbest" not in explicit:
        options = options.updated({"nbest": min(SHOWN_HYPOTHESES, options.decoding.num_beams)})
    page.serve(
        load_transcriber(options, explicit),
        noise_path=next(map(Path, options.augmentation.noise_file or ()), None),
        examples_dir=options.serving.examples,
        host=options.serving.host,
        port=options.serving.port,
    )


def serve_api(options: Options, explicit: Collection[str]) -> None:
    """Answer requests of OpenAI's interface until a signal. Raises ValueError where that cannot be done."""
    from llama_avsr import server
    from llama_avsr.transcription.loading import load_transcriber

    server.check_installed()
    from llama_avsr.server.limits import Limits

    api = options.api
    server.serve(
        load_transcriber(options, explicit),
        host=options.serving.host,
        port=options.serving.port,
        key_file=api.api_key_file,
        model_id=api.model_id,
        limits=Limits(
            upload_mb=api.max_upload_mb,
            recording_seconds=api.max_recording_seconds,
            requests=api.max_requests,
            request_seconds=api.max_request_seconds,
            readers=api.readers,
        ),
    )
