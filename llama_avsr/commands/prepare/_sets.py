"""What the commands that prepare data sets share: their options, and running them."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from llama_avsr.commands.prepare import _faces
from llama_avsr.commands.prepare._set_report import FRAMES_PER_SECOND, report_lines
from llama_avsr.options.common import LoggingOptions
from llama_avsr.options.fields import group, option
from llama_avsr.options.values import NonNegativeInt, PositiveFloat, PositiveInt

if TYPE_CHECKING:
    from preparation.datasets import Item
    from preparation.datasets.clips import ClipSettings
    from preparation.labels.lists import LabelSettings

LEADING = ("source", "clips")
"""Groups that --help shows first."""


def _languages(text: str) -> str:
    if not re.fullmatch("[a-z]{2,3}-[a-z]{2,3}", text):
        raise ValueError(f"expected two languages such as en-es, found {text!r}")
    return text


@group()
class ClipOptions:
    """Clips"""

    root_dir: Path | None = option(None, required=True)
    """Folder to write the prepared data set to."""
    seg_seconds: PositiveInt = 16
    """Maximum length of a clip in seconds. Longer videos are cut, and folders and label files are named
    after this number: 16 for training, 24 for tests."""
    already_cropped: bool = False
    """The videos show nothing but mouths (88 to 256 pixels a side): run no face detector, only cut in
    time."""
    sound: bool = True
    """Read and write sound. --no-sound is for lip reading alone."""


@group()
class LabelOptions:
    """Label files"""

    label_format: tuple[Literal["5-column", "4-column", "tsv"], ...] = ("5-column",)
    """Formats to write. 5-column CSV holds the text; 4-column CSV token ids (see --spm); tsv is a
    manifest with a .wrd beside it."""
    lowercase: bool | None = True
    """Write lower-case text to 5-column label files and manifests. Text files are always upper-case."""
    spm: Path | None = None
    """SentencePiece model that makes the token ids of 4-column files. Default: none; the column stays
    empty."""
    languages: Annotated[str, _languages] = "en-en"
    """Languages spoken and written, for the ids in manifests."""
    min_frames: PositiveInt | None = None
    """List only clips of at least this many frames (25 per second). 26 makes the published
    ..._greater25."""
    max_frames: PositiveInt | None = None
    """List only clips of at most this many frames."""
    max_seconds: PositiveFloat | None = None
    """List only clips of at most this many seconds."""


@group()
class JobOptions:
    """Running"""

    num_workers: PositiveInt | None = None
    """Number of worker processes. Default: one for each core."""
    groups: PositiveInt = 1
    """Number of shares to divide the videos into, to prepare each in a job of its own. When all are
    done, run the same command without --groups to write the label files of the whole."""
    job_index: NonNegativeInt = 0
    """Which share to prepare, starting at 0."""
    limit: PositiveInt | None = None
    """Prepare only the first this many videos."""
    retry: bool = False
    """Try again the videos that an earlier run could not use."""


@dataclass(frozen=True, kw_only=True)
class SetOptions(_faces.FaceCommandOptions):
    """Options of a command that prepares a data set."""

    clips: ClipOptions = field(default_factory=ClipOptions)
    labels: LabelOptions = field(default_factory=LabelOptions)
    running: JobOptions = field(default_factory=JobOptions)
    logging: LoggingOptions = field(default_factory=LoggingOptions)


def run(
    options: SetOptions,
    dataset: str,
    items: Sequence[Item],
    max_gap: float = _faces.MAX_GAP_SECONDS,
    **more: Any,
) -> ClipSettings:
    """Prepare `items` and print what came of it; returns how. `more` goes to `pipeline.prepare`."""
    from preparation.datasets.clips import ClipSettings
    from preparation.datasets.mouths import MouthSettings
    from preparation.datasets.pipeline import Share, prepare

    clips, running = options.clips, options.running
    settings = ClipSettings(
        dataset=dataset,
        root_dir=clips.root_dir,
        seg_seconds=clips.seg_seconds,
        mouths=MouthSettings(
            clips.already_cropped, _faces.detector_options(options), _faces.crop_options(options, max_gap)
        ),
        with_sound=clips.sound,
    )
    share = Share(running.groups, running.job_index)
    report = prepare(
        items[: running.limit],
        settings,
        _label_settings(options.labels),
        share=share,
        num_workers=running.num_workers,
        retry=running.retry,
        **more,
    )
    for line in report_lines(dataset, clips.root_dir, report):
        print(line)
    if "4-column" in options.labels.label_format and options.labels.spm is None:
        print("The 4-column files have no token ids: they need a SentencePiece model, --spm.")
    if share.groups > 1:
        print(
            f"This is share {share.index} of {share.groups} (0 to {share.groups - 1}); when all are done, "
            "the same command without --groups and --job-index writes the label files of the whole."
        )
    return settings


def _label_settings(labels: LabelOptions) -> LabelSettings:
    from preparation.labels.lists import LabelSettings, LengthFilter, load_encoder

    longest = [labels.max_frames] if labels.max_frames else []
    if labels.max_seconds is not None:
        longest.append(max(1, math.floor(labels.max_seconds * FRAMES_PER_SECOND)))
    return LabelSettings(
        formats=tuple(dict.fromkeys(labels.label_format)),
        lowercase=labels.lowercase,
        length=LengthFilter(min_frames=labels.min_frames, max_frames=min(longest, default=None)),
        encode=load_encoder(labels.spm) if labels.spm else None,
        languages=labels.languages,
    )
