"""Label files of prepared clips: which clips, in which format, under which name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from datamodules.batch import SAMPLES_PER_VIDEO_FRAME
from datamodules.files import write_whole
from datamodules.formats.avhubert_tsv import TEXT_SUFFIX
from preparation.labels.contents import csv_line, tsv_line
from preparation.labels.files import MANIFEST_SUFFIX

FORMATS = ("5-column", "4-column", "tsv")
Encode = Callable[[str], Sequence[int]]


@dataclass(frozen=True)
class Row:
    """One clip. rel_path: below the data set's folder, with .mp4."""

    dataset: str
    rel_path: str
    num_frames: int
    text: str


@dataclass(frozen=True, kw_only=True)
class LengthFilter:
    """Which clips a label file lists, by their length in frames of 25 fps; both ends are listed."""

    min_frames: int | None = None
    max_frames: int | None = None

    def __post_init__(self) -> None:
        if self.min_frames and self.max_frames and self.min_frames > self.max_frames:
            raise ValueError(
                f"no clip has at least {self.min_frames} and at most {self.max_frames} frames; "
                "see --min-frames, --max-frames, --max-seconds"
            )

    def keeps(self, num_frames: int) -> bool:
        return (self.min_frames or 0) <= num_frames <= (self.max_frames or num_frames)

    @property
    def suffix(self) -> str:
        """`_greater25` lists clips of 26 frames and more, as the published lists of that name."""
        least = f"_greater{self.min_frames - 1}" if self.min_frames else ""
        return least + (f"_upto{self.max_frames}" if self.max_frames else "")


@dataclass(frozen=True, kw_only=True)
class LabelSettings:
    """Which label files are written.

    encode: text to the ids of 4-column files; without it that column is empty (our readers ignore it).
    languages: spoken and written, `en-en`, for the ids of .tsv files.
    """

    formats: tuple[str, ...] = ("5-column",)
    lowercase: bool = True
    length: LengthFilter = LengthFilter()
    encode: Encode | None = None
    languages: str = "en-en"


def write(folder: Path, name: str, shard: str, rows: Sequence[Row], settings: LabelSettings) -> list[Path]:
    """Write `rows` in each format; returns the files, each whole or not there.

    name: `lrs3_train_transcript_lengths_seg16s`; shard: "", or `.4.0` for the first of four shares.
    4-column files are `NAME.csv` (their texts lie in files of their own), 5-column ones
    `NAME_LLM[_lowercase].csv`, manifests `NAME[_lowercase].tsv` with a .wrd. The filter, applied by the
    caller, adds to the name.
    """
    written = []
    for label_format in settings.formats:
        writer, mark = _WRITERS[label_format]
        case = "_lowercase" if settings.lowercase and label_format != "4-column" else ""
        path = folder / f"{name}{mark}{case}{settings.length.suffix}{shard}"
        written += writer(path, rows, settings)
    return written


def write_5_columns(path: Path, rows: Sequence[Row]) -> Path:
    """`dataset,path,frames,0,text`, one clip a line."""
    return _write(path, [csv_line(row.dataset, row.rel_path, row.num_frames, row.text, "0") for row in rows])


def _write_5_columns(path: Path, rows: Sequence[Row], settings: LabelSettings) -> list[Path]:
    cased = [replace(row, text=_cased(row, settings)) for row in rows]
    return [write_5_columns(_with_suffix(path, ".csv"), cased)]


def _write_4_columns(path: Path, rows: Sequence[Row], settings: LabelSettings) -> list[Path]:
    encode = settings.encode
    lines = []
    for row in rows:
        ids = " ".join(map(str, encode(row.text))) if encode is not None else ""
        lines.append(f"{row.dataset},{row.rel_path},{row.num_frames},{ids}\n")
    return [_write(_with_suffix(path, ".csv"), lines)]


def _write_tsv(path: Path, rows: Sequence[Row], settings: LabelSettings) -> list[Path]:
    lines = [".\n"]
    for row in rows:
        stem = row.rel_path.removesuffix(".mp4")
        lines.append(
            tsv_line(
                f"{row.dataset}/{settings.languages}/{stem}",
                f"{row.dataset}/{row.rel_path}",
                f"{row.dataset}/{stem}.wav",
                row.num_frames,
                row.num_frames * SAMPLES_PER_VIDEO_FRAME,
            )
        )
    # The .tsv comes last: where it is, the texts are.
    wrd = _write(_with_suffix(path, TEXT_SUFFIX), [f"{_cased(row, settings)}\n" for row in rows])
    return [_write(_with_suffix(path, MANIFEST_SUFFIX), lines), wrd]


_WRITERS = {
    "5-column": (_write_5_columns, "_LLM"),
    "4-column": (_write_4_columns, ""),
    "tsv": (_write_tsv, ""),
}


def _cased(row: Row, settings: LabelSettings) -> str:
    return row.text.lower() if settings.lowercase else row.text


def _with_suffix(path: Path, suffix: str) -> Path:
    # Not `with_suffix`: the shard (.4.0) would be taken for one.
    return path.with_name(path.name + suffix)


def _write(path: Path, lines: Sequence[str]) -> Path:
    write_whole(path, "".join(lines))
    return path


def load_encoder(model: Path) -> Encode:
    """The ids of a sentencepiece model, such as auto-avsr's of 5000 unigram pieces.

    Raises:
        ValueError: no such file, or no such model.
    """
    import sentencepiece

    if not model.is_file():
        raise ValueError(f"{model}: no such file; --spm names a sentencepiece model (.model)")
    processor = sentencepiece.SentencePieceProcessor()
    try:
        processor.Load(str(model))
    except (RuntimeError, OSError) as error:
        raise ValueError(f"{model}: expected a sentencepiece model ({error})") from None
    return processor.EncodeAsIds
